"""`foreshock trainer upkeep` and `foreshock trainer audit`: a lake that stays quick, and whole."""

from __future__ import annotations

import json
import time

import click

from foreshock_trainer.labels_cli import LAKE
from foreshock_wire.errors import ForeshockError
from foreshock_wire.options import JSON


@click.command(
    epilog="""\b
Examples:
  foreshock trainer upkeep --lake lake
  foreshock trainer upkeep --lake gs://plant/lake --keep-h 336 --json

An ingest worker that owns shard 0 does this by itself (--upkeep-s); this is for a lake without one.
It may run beside writers and readers, and may be stopped at any moment.
"""
)
@LAKE
@click.option(
    "--keep-h",
    default=168,
    show_default=True,
    type=click.IntRange(min=168),
    help="How long replaced files stay for those who are reading them.",
)
@JSON
def upkeep(root: str, keep_h: int, *, as_json: bool) -> None:
    """Put small files together, cluster past days by machine, remove what was replaced."""
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy
    from foreshock_trainer.upkeep import keep_up  # noqa: PLC0415 - heavy

    done = keep_up(Lake(root, create=True), now_ns=time.time_ns(), keep_h=keep_h).as_dict()
    if as_json:
        click.echo(json.dumps(done))
    else:
        click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.items()))


@click.command(
    epilog="""\b
Examples:
  foreshock trainer audit --lake lake
  foreshock trainer audit --lake lake --json

Exit code 1 when a record is missing or doubled; what retention dropped is told and is no fault.
"""
)
@LAKE
@JSON
def audit(root: str, *, as_json: bool) -> None:
    """Count every stream of every gateway: each record once, up to what was acknowledged."""
    from foreshock_trainer import audit as audits  # noqa: PLC0415 - heavy
    from foreshock_trainer.lake import Lake  # noqa: PLC0415 - heavy

    streams = audits.audit(Lake(root))
    wrong = [one for one in streams if not one.whole]
    if as_json:
        told = {"whole": not wrong, "streams": [one.as_dict() for one in streams]}
        click.echo(json.dumps(told))
    for one in wrong:
        click.echo(
            f"{one.gateway}/{one.epoch}/{one.stream}: {one.missing} missing, {one.doubled} doubled "
            f"of {one.mark}",
            err=True,
        )
    rows, dropped = sum(one.rows for one in streams), sum(one.dropped for one in streams)
    if wrong:
        raise ForeshockError(f"{len(wrong)} of {len(streams)} streams do not add up (named above)")
    if not as_json:
        click.echo(
            f"{len(streams)} streams, {rows:,} records, {dropped:,} dropped by gateways: all there"
        )
