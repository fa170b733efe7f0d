"""`foreshock plant`: simulate a plant over MQTT, or write its past lives."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

import click

from foreshock_wire.options import FOLDER, JSON

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from click.decorators import FC

Result = TypeVar("Result")

_seed = click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)


def _machines(default: int) -> Callable[[FC], FC]:
    return click.option(
        "--machines", type=click.IntRange(1, 10_000), default=default, show_default=True
    )


def _hours(default: float) -> Callable[[FC], FC]:
    return click.option(
        "--hours",
        type=click.FloatRange(1, 100_000),
        default=default,
        show_default=True,
        help="Plant hours.",
    )


_brokers = click.option(
    "--broker",
    "brokers",
    multiple=True,
    required=True,
    metavar="SITE/GATEWAY=HOST:PORT",
    help="A gateway's local broker; machines are dealt out to the brokers in turn.",
)
_out = click.option("--out", type=FOLDER, required=True)


def _speed(default: float) -> Callable[[FC], FC]:
    return click.option(
        "--speed",
        type=click.FloatRange(min=0, min_open=True),
        default=default,
        show_default=True,
        help="Plant hours per second.",
    )


@click.group()
def cli() -> None:
    """Simulate, record and replay the machines that Foreshock listens to."""


@cli.command(
    epilog="Example: foreshock plant run --broker works/gw-1=127.0.0.1:1883 "
    "--broker works/gw-2=127.0.0.1:1884 --machines 12 --hours 700 --speed 8 --out var/plant"
)
@_brokers
@_machines(12)
@_hours(700)
@_speed(8)
@_seed
@_out
@JSON
def run(  # noqa: PLR0917 - click passes options by name
    brokers: tuple[str, ...],
    machines: int,
    hours: float,
    speed: float,
    seed: int,
    out: Path,
    as_json: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Publish a live plant over MQTT in accelerated time.

    Writes published.jsonl (each message), events.csv (work orders, as they happen) and truth.npz to
    --out. SIGTERM and Ctrl-C end it with whole files and the last messages acknowledged.
    """
    from foreshock_plant.link import BrokerAddress  # noqa: PLC0415 - paho only when publishing
    from foreshock_plant.publisher import Plant  # noqa: PLC0415 - paho only when publishing

    plant = Plant(
        [BrokerAddress.parse(text) for text in brokers],
        machines=machines,
        hours=hours,
        hours_per_s=speed,
        seed=seed,
        out=out,
    )
    _end_in_order(plant.stop)
    _print(plant.run().as_json(), as_json=as_json)


@cli.command(
    epilog="""\b
Examples:
  foreshock plant record --out var/history
  foreshock plant replay --from var/history --broker works/gw-1=127.0.0.1:1883 --out var/replayed
"""
)
@click.option(
    "--from",
    "recording",
    type=FOLDER,
    required=True,
    help="A folder of recorded telemetry: {site}/{gateway}/*.fsb.",
)
@_brokers
@_speed(8)
@_out
@JSON
def replay(
    recording: Path,
    brokers: tuple[str, ...],
    speed: float,
    out: Path,
    as_json: bool,  # noqa: FBT001 - a click flag
) -> None:
    """Publish recorded telemetry over MQTT, at any speed, in the order in which it arrived.

    Writes published.jsonl (each message) to --out. A gateway that cannot keep up is waited for:
    nothing is skipped. SIGTERM and Ctrl-C end it with a whole file and the last messages
    acknowledged.
    """
    from foreshock_plant.link import BrokerAddress  # noqa: PLC0415 - paho only when publishing
    from foreshock_plant.replay import Replay  # noqa: PLC0415 - paho only when publishing

    addresses = [BrokerAddress.parse(text) for text in brokers]
    show = Replay(addresses, recording, hours_per_s=speed, out=out)
    _end_in_order(show.stop)
    with _progress(show.messages, "Replaying") as progress:
        done = show.run(progress)
    _print(done.as_json(), as_json=as_json)


@cli.command(
    epilog="Example: foreshock plant record --machines 60 --hours 2000 --seed 7 --out var/history"
)
@_machines(60)
@_hours(2000)
@_seed
@_out
@JSON
def record(machines: int, hours: float, seed: int, out: Path, as_json: bool) -> None:  # noqa: FBT001
    """Write the past lives of other machines as telemetry batch files and events.csv."""
    from foreshock_plant import recorder  # noqa: PLC0415 - keeps --help quick

    with _progress(machines, "Recording lives") as progress:
        done = recorder.record(out, machines=machines, hours=hours, seed=seed, progress=progress)
    _print(done.as_json(), as_json=as_json)


def _end_in_order(stop: threading.Event) -> None:
    logging.basicConfig(level=logging.WARNING, format="plant: %(message)s")
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())


@contextlib.contextmanager
def _progress(length: int, label: str) -> Iterator[Callable[[int], object]]:
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar.update


def _print(summary: Mapping[str, int | str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary))
        return
    width = max(len(name) for name in summary)
    for name, value in summary.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {value}")
