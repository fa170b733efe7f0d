"""`foreshock agent outbox`: what waits to go up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from foreshock_agent.options import CONFIG
from foreshock_wire.options import JSON
from foreshock_wire.times import rfc3339
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog="""\b
Examples:
  foreshock agent outbox --config agent.toml
  foreshock agent outbox --config agent.toml --records --stream alarms --limit 5
"""
)
@CONFIG
@JSON
@click.option("--records", is_flag=True, help="The single records, those first that go up next.")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice([*map(str, Stream)]),
    help="Only of this one.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Records of each stream.",
)
def outbox(
    config: Path, streams: tuple[str, ...], limit: int, *, records: bool, as_json: bool
) -> None:
    """Show what waits to go up: by stream the records, their bytes and the oldest. Reads only."""
    from foreshock_agent.desk.waiting import next_records, waiting  # noqa: PLC0415 - heavy
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    database = load(config).database
    asked = [Stream(stream) for stream in streams] or [*Stream]
    report = {name: one for name, one in waiting(database).items() if Stream(name) in asked}
    if records:
        for stream in asked:
            report[stream]["next"] = next_records(database, stream, limit)
    if as_json:
        click.echo(json.dumps(report))
        return
    for name, one in report.items():
        _tell(name, one)


def _tell(stream: str, one: dict[str, Any]) -> None:
    from foreshock_agent.desk.waiting import record_line  # noqa: PLC0415 - heavy

    oldest = "-" if one["oldest_ns"] is None else rfc3339(one["oldest_ns"])
    click.echo(f"{stream:<10} {one['records']:>12,} records {one['bytes']:>14,} bytes  {oldest}")
    for record in one.get("next", ()):
        click.echo(f"  {record_line(record)}")
