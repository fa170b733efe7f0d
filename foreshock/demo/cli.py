"""`foreshock demo`: play the show, print the summary, exit 0 only when it adds up."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock.demo.stage import Setting
    from foreshock.demo.summary import Summary


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds",
    default=90.0,
    show_default=True,
    type=click.FloatRange(20, 3600),
    help="Length of the show, set-up and first training not counted.",
)
@click.option(
    "--gateways",
    default=3,
    show_default=True,
    type=click.IntRange(1, 20),
    help="Each with a broker and an agent of its own.",
)
@click.option(
    "--machines",
    default=12,
    show_default=True,
    type=click.IntRange(1, 500),
    help="Dealt out to the gateways in turn.",
)
@click.option(
    "--past",
    default=60,
    show_default=True,
    type=click.IntRange(20, 1000),
    help="Other machines whose recorded past trains the first model.",
)
@click.option(
    "--speed",
    default=8.0,
    show_default=True,
    type=click.FloatRange(0.1, 1000),
    help="Plant hours a second.",
)
@click.option("--seed", default=1, show_default=True, help="Another plant, another story.")
@click.option(
    "--broker",
    default="embedded",
    show_default=True,
    type=click.Choice(["embedded", "mosquitto"]),
    help="What carries the messages; the embedded broker needs nothing installed.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Leave databases, lake, models and logs in this (new) folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
@click.option("--plain", is_flag=True, help="Lines instead of the live view.")
def demo(
    *,
    seconds: float,
    gateways: int,
    machines: int,
    past: int,
    speed: float,
    seed: int,
    broker: str,
    keep: Path | None,
    as_json: bool,
    plain: bool,
) -> None:
    """Watch the whole loop turn: machines wear, alarms come, a better model rolls out.

    The exit code is 0 only when the summary adds up: every reading that the plant published is in
    the lake once, the accounts balance, and every gateway runs the newest model.

    \b
    Examples:
      foreshock demo
      foreshock demo --keep /tmp/show --seconds 120
      foreshock demo --json | tail -n 1
    """  # noqa: D301 - click's paragraph mark is a real backspace
    from foreshock.demo.stage import Setting  # noqa: PLC0415 - needs the demo's extra

    with _folder(keep) as folder:
        setting = Setting(folder, gateways, machines, past, seconds, speed, seed, broker)
        summary = _play(setting, plain=plain or as_json)
        _show(summary, setting, as_json=as_json, kept=keep)
    if summary.problems:
        raise SystemExit(1)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="foreshock-demo-") as name:
            yield Path(name)
        return
    if keep.exists() and any(keep.iterdir()):
        raise click.UsageError(f"{keep} is not empty: name a new folder for --keep")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _play(setting: Setting, *, plain: bool) -> Summary:
    """Play the show and leave no process behind, however it ends."""
    from rich.console import Console  # noqa: PLC0415 - needs the demo's extra

    from foreshock.demo.story import Story  # noqa: PLC0415 - needs the demo's extra
    from foreshock.demo.summary import summarise  # noqa: PLC0415 - needs the demo's extra
    from foreshock.demo.view import LiveView, PlainView  # noqa: PLC0415 - needs the demo's extra

    console = Console()
    view = PlainView(console) if plain or not console.is_terminal else LiveView(console)
    story = Story(setting, view.tell)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    view.attach(story)
    try:
        story.play()
    except KeyboardInterrupt:
        raise click.Abort from None
    finally:
        with _undisturbed():
            story.close()
            view.close()
    progress = story.progress
    return summarise(setting, story.watcher.seen, progress.models, progress.uplink_cut_s)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the clean-up finish: a second Ctrl-C would leave processes behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(summary: Summary, setting: Setting, *, as_json: bool, kept: Path | None) -> None:
    from foreshock.demo.report import report_lines  # noqa: PLC0415 - needs the demo's extra

    for line in report_lines(summary, setting):
        click.echo(line)
    if kept is not None:
        click.echo(f"everything is left in {kept}")
    if as_json:
        click.echo(json.dumps(summary.as_json()))
