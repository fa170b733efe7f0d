"""`foreshock demo`: play the show, print the summary, exit 0 only when it adds up."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from foreshock_wire.options import FOLDER, JSON

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foreshock.demo.programme import Programme

REPLAY_ONLY: Final = ("data", "subset", "no_counter")
STORY_ONLY: Final = ("seconds", "seed")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--replay",
    metavar="NAME",
    help="Replay a recorded data set (cmapss) instead of the simulated plant; needs --data.",
)
@click.option(
    "--data",
    type=FOLDER,
    help="With --replay: the folder of its files (`foreshock trainer data fetch`).",
)
@click.option("--subset", help="With --replay: a part of the data set.  [default: its first]")
@click.option(
    "--no-counter",
    is_flag=True,
    help="With --replay: learn from the sensors alone, not from the machines' age.",
)
@click.option(
    "--seconds",
    default=90.0,
    show_default=True,
    type=click.FloatRange(20, 3600),
    help="Length of the show, set-up and first training not counted; not for --replay.",
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
    type=click.IntRange(1, 500),
    help="Dealt out to the gateways in turn.  [default: 12; with --replay all test machines]",
)
@click.option(
    "--past",
    type=click.IntRange(20, 1000),
    help="Other machines, whose recorded past trains the first model.  [default: 60; with "
    "--replay all training machines]",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 100_000),
    help="Plant hours a second.  [default: 8; with --replay as fast as the gateways can]",
)
@click.option(
    "--seed", default=1, show_default=True, help="Another plant, another story; not for --replay."
)
@click.option(
    "--broker",
    default="embedded",
    show_default=True,
    type=click.Choice(["embedded", "mosquitto"]),
    help="What carries the messages; the embedded broker needs nothing installed.",
)
@click.option(
    "--keep",
    type=FOLDER,
    help="Leave databases, lake, models and logs in this (new) folder.",
)
@JSON
@click.option("--plain", is_flag=True, help="Lines instead of the live view.")
@click.pass_context
def demo(
    context: click.Context,
    /,
    *,
    replay: str | None,
    keep: Path | None,
    as_json: bool,
    plain: bool,
    **asked: Any,  # noqa: ANN401 - the options of the two shows
) -> None:
    """Watch the whole loop turn: machines wear, alarms come, a better model rolls out.

    The exit code is 0 only when the summary adds up: every reading that the plant published is in
    the lake once, the accounts balance, and every gateway runs the newest model. A replay trains on
    the recorded machines that ran to failure, sends the others through MQTT and the agents, judges
    the scores by the data set's own protocol, and makes each of them again without MQTT.

    \b
    Examples:
      foreshock demo
      foreshock demo --keep /tmp/show --seconds 120
      foreshock demo --replay cmapss --data var/data/cmapss
      foreshock demo --replay cmapss --data var/data/cmapss --subset FD003 --broker mosquitto
      foreshock demo --json | tail -n 1
    """  # noqa: D301 - click's paragraph mark is a real backspace
    from foreshock.demo.programme import Recorded, Simulated  # noqa: PLC0415 - the demo's extra

    _refuse_strangers(context, REPLAY_ONLY if replay is None else STORY_ONLY, replay)
    given = {name: value for name, value in asked.items() if value is not None}
    with _folder(keep) as folder:
        programme = Simulated(folder, given) if replay is None else Recorded(folder, replay, given)
        problems = _play(programme, plain=plain, as_json=as_json, kept=keep)
    if problems:
        raise SystemExit(1)


def _refuse_strangers(context: click.Context, strangers: Sequence[str], replay: str | None) -> None:
    for name in strangers:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            why = "needs --replay" if replay is None else "does not go with --replay"
            raise click.UsageError(f"{option} {why}")


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


def _play(programme: Programme, *, plain: bool, as_json: bool, kept: Path | None) -> list[str]:
    """Play the show, leave no process behind however it ends, and return what does not add up."""
    from rich.console import Console  # noqa: PLC0415 - needs the demo's extra

    from foreshock.demo.view import LiveView, PlainView  # noqa: PLC0415 - needs the demo's extra

    console = Console()
    lines_only = plain or as_json or not console.is_terminal
    view = PlainView(console) if lines_only else LiveView(console)
    show = programme.show(view.tell)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    view.attach(show)
    try:
        show.play()
    except KeyboardInterrupt:
        raise click.Abort from None
    finally:
        with _undisturbed():
            show.close()
            view.close()
    summary, lines = programme.summary(show)
    for line in lines:
        click.echo(line)
    if kept is not None:
        click.echo(f"everything is left in {kept}")
    if as_json:
        click.echo(json.dumps(summary.as_json()))
    return summary.problems


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the clean-up finish: a second Ctrl-C would leave processes behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
