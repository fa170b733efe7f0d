"""`foreshock trainer labels`: what happened to the machines, as people tell it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import AlarmAnswer
from foreshock_wire.options import FILE, JSON, TIME
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_trainer.label_files import BadRow
    from foreshock_trainer.labels import Label

LAKE: Final = click.option(
    "--lake",
    "root",
    required=True,
    metavar="DIR|URL",
    help="The lake's folder or URL (s3://bucket/lake).",
)


@click.group()
def labels() -> None:
    """Failures, maintenance and answers to alarms: what the model learns from."""


@labels.command(
    epilog="""\b
Examples:
  foreshock trainer labels add events.csv --lake lake
  foreshock trainer labels add work_orders.parquet --lake lake --json

The columns are machine,time,kind,mode,detail (others are ignored); time is RFC 3339 with Z or an
offset, in Parquet also a timestamp with a time zone; kind is failure, maintenance, installed,
repaired, observed_until, confirmed or false_alarm. Adding it again adds nothing.
"""
)
@click.argument("file", type=FILE)
@LAKE
@JSON
def add(file: Path, root: str, *, as_json: bool) -> None:
    """Put the labels of a CSV or Parquet FILE into the lake."""
    from foreshock_trainer.label_files import add_labels  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy

    report = add_labels(Lake(root, create=True), file)
    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        click.echo(f"{report.added} added, {report.known} known, {len(report.refused)} refused")
    name_refused(report.refused, file)


@labels.command(
    epilog="""\b
Examples:
  foreshock trainer labels answer pump-7 false_alarm --lake lake
  foreshock trainer labels answer pump-7 repaired --mode bearing_wear --found "pitted race" \\
      --time 2024-03-01T06:00:00Z --lake lake

An operator at the machine answers over MQTT instead (docs/wire.md, AlarmCommand): that comes up by
itself. Answers judge alarms in a backtest; a repair also ends what can be known of the time before.
"""
)
@click.argument("machine")
@click.argument("answer", type=click.Choice([str(one) for one in AlarmAnswer]))
@click.option("--mode", help="The failure mode that was found.")
@click.option("--found", help="What was found, in words.")
@click.option(
    "--time", "at_ns", type=TIME, help="When, RFC 3339; default: the alarm's last change."
)
@LAKE
@JSON
def answer(  # noqa: PLR0917 - click passes options by name
    machine: str,
    answer: str,
    mode: str | None,
    found: str | None,
    at_ns: int | None,
    root: str,
    *,
    as_json: bool,
) -> None:
    """Say what a MACHINE's newest alarm was: confirmed, false_alarm or repaired."""
    from foreshock_trainer.labels import answer_alarm  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy

    label = answer_alarm(Lake(root), machine, answer, mode=mode, found=found, at_ns=at_ns)
    click.echo(json.dumps(_plain(label)) if as_json else _line(label))


@labels.command(
    "list",
    epilog="""\b
Examples:
  foreshock trainer labels list --lake lake
  foreshock trainer labels list --lake lake --machine pump-7 --json
""",
)
@LAKE
@click.option("--machine", help="Only this machine's.")
@JSON
def list_labels(root: str, machine: str | None, *, as_json: bool) -> None:
    """List the labels of the lake by machine and time."""
    from foreshock_trainer.labels import labels_of  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy

    held = labels_of(Lake(root), machine)
    if as_json:
        click.echo(json.dumps({"labels": [_plain(label) for label in held]}))
        return
    for label in held:
        click.echo(_line(label))
    click.echo(f"{len(held)} labels")


def name_refused(refused: tuple[BadRow, ...], file: Path) -> None:
    """Name each row that was left out.

    Raises:
        ForeshockError: there is one.
    """
    for row in refused:
        click.echo(f"{file}:{row.line}: {row.reason}", err=True)
    if refused:
        raise ForeshockError(
            f"{len(refused)} rows of {file} were left out (named above), the others are in the "
            "lake: correct them and add the file again"
        )


def _plain(label: Label) -> dict[str, Any]:

    return {
        "machine": label.machine,
        "time": rfc3339(label.time_ns),
        "kind": str(label.kind),
        "mode": label.mode,
        "detail": label.detail,
        "source": label.source,
    }


def _line(label: Label) -> str:
    return "  ".join(text for text in _plain(label).values() if text)
