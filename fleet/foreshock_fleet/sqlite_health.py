"""Device-blocks in SQLite: each counts once, and only where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_fleet.health import Health, Metric, Tally, compare
from foreshock_fleet.plan import Plan
from foreshock_wire.errors import MessageError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from foreshock_wire.topics import Gateway
    from foreshock_wire.trials import LiveHealth

_DIRECTIVE: Final = """
SELECT d.rollout, d.sha256, r.plan FROM directives d JOIN rollouts r ON r.number = d.rollout
JOIN members m ON m.rollout = d.rollout AND m.site = d.site AND m.gateway = d.gateway
WHERE d.site = ? AND d.gateway = ? AND d.counter = ? AND m.counter = d.counter
"""
_NEIGHBOUR: Final = """
SELECT block FROM health WHERE rollout = ? AND site = ? AND gateway = ? AND block <> ?
AND begin_ns < ? AND end_ns > ?
"""
_SUMS: Final = ", ".join(
    f"coalesce(sum({metric} = {value}), 0)" for metric in Metric for value in (1, 0, -1)
)


def take(db: sqlite3.Connection, at: Gateway, told: LiveHealth) -> None:
    """Count a device-block; a copy changes nothing.

    Raises:
        MessageError: it belongs to no trial of ours, or overlaps another one.
    """
    rollout, plan = _trial(db, at, told)
    where = (rollout, at.site, at.gateway, told.block)
    if plan.health is None or told.block > plan.health.terms.blocks:
        raise MessageError(f"LiveHealth: block {told.block} of {at.gateway} was not asked for")
    if other := db.execute(_NEIGHBOUR, (*where, told.end_ns, told.begin_ns)).fetchone():
        raise MessageError(f"LiveHealth: block {told.block} of {at.gateway} overlaps {other[0]}")
    outcome = compare(told)
    row = (*where, told.begin_ns, told.end_ns, *(outcome.get(metric) for metric in Metric))
    marks = ",".join("?" * (len(row) + 1))
    db.execute(
        f"INSERT OR IGNORE INTO health VALUES ({marks})",  # noqa: S608 - only marks
        (*row, told.model_dump_json()),
    )


def _trial(db: sqlite3.Connection, at: Gateway, told: LiveHealth) -> tuple[int, Plan]:
    row = db.execute(_DIRECTIVE, (at.site, at.gateway, told.counter)).fetchone()
    if row is None or row[1] != told.candidate_sha256:
        raise MessageError(
            f"LiveHealth: {at.gateway} was not told to try {told.candidate_sha256[:12]} "
            f"by directive {told.counter}"
        )
    return int(row[0]), Plan.model_validate_json(row[2])


def load(db: sqlite3.Connection, rollout: int) -> Health:
    """Return what is known of a rollout's model on live data."""
    sums = db.execute(f"SELECT {_SUMS} FROM health WHERE rollout = ?", (rollout,)).fetchone()  # noqa: S608 - names of ours
    triples = zip(Metric, zip(*[iter(sums)] * 3, strict=True), strict=True)
    return Health({metric: Tally(*three) for metric, three in triples})


def blocks(db: sqlite3.Connection, rollout: int) -> Mapping[tuple[str, str], int]:
    """Return how many blocks each gateway, by site and id, has told of."""
    rows = db.execute(
        "SELECT site, gateway, count(*) FROM health WHERE rollout = ? GROUP BY site, gateway",
        (rollout,),
    )
    return {(site, gateway): count for site, gateway, count in rows}
