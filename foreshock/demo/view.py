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

    from foreshock.demo.show import Show
    from foreshock.demo.watch import Seen
    from foreshock_wire.messages import Alarm

BARS: Final = "▁▂▃▄▅▆▇█"
SPARK_POINTS: Final = 30
STORY_LINES: Final = 10
MOST_MACHINES: Final = 24
REFRESH_S: Final = 0.25


class PlainView:
    """One line per event; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, line: str) -> None:
        """Print an event."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def attach(self, show: Show) -> None:
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
        """Add an event to the show."""
        self._lines.append(line)

    def attach(self, show: Show) -> None:
        """Begin to draw."""
        self._live.start()
        self._thread = threading.Thread(target=self._draw, args=(show,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop drawing and leave the whole story on the screen."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._live.stop()
        for line in self._lines:
            self._console.print(line, markup=False, highlight=False)

    def _draw(self, show: Show) -> None:
        while not self._stopping.wait(REFRESH_S):
            self._live.update(self._picture(show), refresh=True)

    def _picture(self, show: Show) -> RenderableType:
        lines = Text("\n".join(self._lines[-STORY_LINES:]), no_wrap=True, overflow="ellipsis")
        return Group(
            Panel(_headline(show), title="Foreshock", title_align="left"),
            _machines(show),
            _gateways(show),
            Panel(lines, title="what happened", title_align="left"),
        )


def _headline(show: Show) -> Text:
    progress, seen = show.progress, show.watcher.seen
    elapsed_s = time.monotonic() - progress.started_s
    cloud = ("up", "green") if progress.cloud_up else ("CUT OFF", "bold red")
    text = Text(f"{elapsed_s:4.0f} s   plant time {_moment(seen.newest_ns)}   cloud ")
    text.append(*cloud)
    text.append(f"   waiting on gateways {_pending(show):,}")
    text.append("   training…" if progress.training else "", style="cyan")
    return text


def _pending(show: Show) -> int:
    try:
        return show.pending()
    except sqlite3.OperationalError:  # the agent is making its tables at this very moment
        return 0


def _moment(time_ns: int) -> str:
    if not time_ns:
        return "-"
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")


def _machines(show: Show) -> Table:
    seen = show.watcher.seen
    table = Table(expand=True, box=None, padding=(0, 1))
    risk_of = f"risk of failure within {show.progress.horizon_h:g} h"
    for heading in ("machine", "gateway", risk_of, "now", "alarm"):
        table.add_column(heading, no_wrap=True)
    for machine in _chosen(seen):
        risk = seen.probability.get(machine, [])[-SPARK_POINTS:]
        table.add_row(
            machine,
            seen.machines[machine],
            _spark(risk),
            f"{risk[-1]:.2f}" if risk else "-",
            _alarm(seen.alarms.get(machine)),
        )
    return table


def _chosen(seen: Seen) -> list[str]:
    """Return the machines by name; of more than a screen holds, those at the greatest risk."""
    risk = {name: seen.probability.get(name, [0.0])[-1] for name in list(seen.machines)}
    return sorted(sorted(risk, key=lambda name: -risk[name])[:MOST_MACHINES])


def _spark(values: list[float]) -> str:
    return "".join(BARS[min(len(BARS) - 1, int(value * len(BARS)))] for value in values)


def _alarm(alarm: Alarm | None) -> Text:
    if alarm is None:
        return Text("")
    if not alarm.stands:
        return Text("back to normal", style="dim")
    cause = (alarm.mode or (alarm.reasons[0].channel if alarm.reasons else "")).replace("_", " ")
    return Text(f"● {cause}", style="bold red")


def _gateways(show: Show) -> Table:
    table = Table(expand=True, box=None, padding=(0, 1))
    for heading in ("gateway", "model", "agent"):
        table.add_column(heading, no_wrap=True)
    for name, status in sorted(show.watcher.seen.status.items()):
        model = status.model[:16] if status.model else "limits only"
        table.add_row(name, model, "online" if status.online else "offline")
    return table
