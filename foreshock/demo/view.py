"""What the terminal shows: a live picture for people, plain lines where there is no terminal."""

from __future__ import annotations

import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from foreshock.demo.story import Story
    from foreshock_wire.messages import Alarm

BARS: Final = "▁▂▃▄▅▆▇█"
SPARK_POINTS: Final = 30
STORY_LINES: Final = 10
REFRESH_S: Final = 0.25


class PlainView:
    """One line per event; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, line: str) -> None:
        """Print an event."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def attach(self, story: Story) -> None:
        """Nothing to watch: lines come by themselves."""

    def close(self) -> None:
        """Nothing to put away."""


class LiveView:
    """A picture of the whole loop, drawn four times a second in a thread of its own."""

    def __init__(self, console: Console) -> None:
        self._lines: list[str] = []
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._console = console

    def tell(self, line: str) -> None:
        """Add an event to the story."""
        self._lines.append(line)

    def attach(self, story: Story) -> None:
        """Begin to draw."""
        self._live.start()
        self._thread = threading.Thread(target=self._draw, args=(story,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop drawing and leave the whole story on the screen."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._live.stop()
        for line in self._lines:
            self._console.print(line, markup=False, highlight=False)

    def _draw(self, story: Story) -> None:
        while not self._stopping.wait(REFRESH_S):
            self._live.update(self._picture(story), refresh=True)

    def _picture(self, story: Story) -> RenderableType:
        lines = Text("\n".join(self._lines[-STORY_LINES:]), no_wrap=True, overflow="ellipsis")
        return Group(
            Panel(_headline(story), title="Foreshock", title_align="left"),
            _machines(story),
            _gateways(story),
            Panel(lines, title="what happened", title_align="left"),
        )


def _headline(story: Story) -> Text:
    progress, seen = story.progress, story.watcher.seen
    elapsed_s = time.monotonic() - progress.started_s
    cloud = ("up", "green") if progress.cloud_up else ("CUT OFF", "bold red")
    text = Text(f"{elapsed_s:4.0f} s   plant time {_moment(seen.newest_ns)}   cloud ")
    text.append(*cloud)
    text.append(f"   waiting on gateways {_pending(story):,}")
    text.append("   training…" if progress.training else "", style="cyan")
    return text


def _pending(story: Story) -> int:
    try:
        return story.pending()
    except sqlite3.OperationalError:  # the agent is making its tables at this very moment
        return 0


def _moment(time_ns: int) -> str:
    if not time_ns:
        return "-"
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")


def _machines(story: Story) -> Table:
    seen = story.watcher.seen
    table = Table(expand=True, box=None, padding=(0, 1))
    for heading in ("machine", "gateway", "risk of failure within 48 h", "now", "alarm"):
        table.add_column(heading, no_wrap=True)
    for machine in sorted(seen.machines):
        risk = seen.probability.get(machine, [])[-SPARK_POINTS:]
        table.add_row(
            machine,
            seen.machines[machine],
            _spark(risk),
            f"{risk[-1]:.2f}" if risk else "-",
            _alarm(seen.alarms.get(machine)),
        )
    return table


def _spark(values: list[float]) -> str:
    return "".join(BARS[min(len(BARS) - 1, int(value * len(BARS)))] for value in values)


def _alarm(alarm: Alarm | None) -> Text:
    if alarm is None:
        return Text("")
    if not alarm.stands:
        return Text("back to normal", style="dim")
    cause = (alarm.mode or (alarm.reasons[0].channel if alarm.reasons else "")).replace("_", " ")
    return Text(f"● {cause}", style="bold red")


def _gateways(story: Story) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1))
    for heading in ("gateway", "model", "agent"):
        table.add_column(heading, no_wrap=True)
    for name, status in sorted(story.watcher.seen.status.items()):
        model = status.model[:16] if status.model else "limits only"
        table.add_row(name, model, "online" if status.online else "offline")
    return table
