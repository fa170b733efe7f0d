"""Rollouts in SQLite: what the rules need, and what an event changes, in one transaction.

The directives' table holds how far each gateway is; a member points to its directive forward
(`counter`) and, if it was taken back, to the one back (`back`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from foreshock_fleet import rollout as rules
from foreshock_fleet import sqlite_health
from foreshock_fleet.events import Event, Offered, RollbackBegan, RolloutState
from foreshock_fleet.plan import Plan
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

_STANDINGS: Final = """
SELECT m.site, m.gateway, m.wave, m.counter, f.state, f.reason, m.before, m.back, b.state, b.reason,
    m.compares
FROM members m
LEFT JOIN directives f ON f.site = m.site AND f.gateway = m.gateway AND f.counter = m.counter
LEFT JOIN directives b ON b.site = m.site AND b.gateway = m.gateway AND b.counter = m.back
WHERE m.rollout = ? ORDER BY m.site, m.gateway
"""
_COUNTER: Final = """
SELECT coalesce((SELECT counter FROM devices WHERE site = ?1 AND gateway = ?2), 0),
       coalesce((SELECT max(counter) FROM directives WHERE site = ?1 AND gateway = ?2), 0)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One rollout as it is stored."""

    number: int
    sha256: str
    members_sha256: str
    started_ns: int
    plan: Plan
    progress: rules.Progress


def load(db: sqlite3.Connection, number: int | None) -> Stored | None:
    """Return a rollout; without a number, the newest."""
    row = db.execute(
        "SELECT number, sha256, members_sha256, started_ns, plan, state, wave, settled_ns, reason "
        "FROM rollouts WHERE number = coalesce(?, (SELECT max(number) FROM rollouts))",
        (number,),
    ).fetchone()
    if row is None:
        return None
    number, sha256, members, started_ns, plan, state, wave, settled_ns, reason = row
    progress = rules.Progress(
        RolloutState(state),
        wave,
        _standings(db, number),
        settled_ns,
        reason,
        sqlite_health.load(db, number),
    )
    return Stored(number, sha256, members, started_ns, Plan.model_validate_json(plan), progress)


def numbers(db: sqlite3.Connection, states: Iterable[RolloutState]) -> list[int]:
    """Return the rollouts that are in one of these states, the newest first."""
    wanted = list(states)
    marks = ",".join("?" * len(wanted))
    query = f"SELECT number FROM rollouts WHERE state IN ({marks}) ORDER BY number DESC"  # noqa: S608 - only marks
    return [number for (number,) in db.execute(query, wanted)]


def insert(
    db: sqlite3.Connection, sha256: str, plan: Plan, progress: rules.Progress, now_ns: int
) -> Stored:
    """Store a rollout that begins."""
    frozen = rules.membership_sha256(one.at for one in progress.members)
    cursor = db.execute(
        "INSERT INTO rollouts (sha256, state, members_sha256, started_ns, plan, wave, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, '')",
        (sha256, progress.state, frozen, now_ns, plan.model_dump_json(), progress.wave),
    )
    number = int(cursor.lastrowid or 0)
    db.executemany(
        "INSERT INTO members VALUES (?, ?, ?, ?, ?, 0, 0, ?)",
        [(number, o.at.site, o.at.gateway, o.wave, o.before, o.compares) for o in progress.members],
    )
    return Stored(number, sha256, frozen, now_ns, plan, progress)


def transit(
    db: sqlite3.Connection, stored: Stored, event: Event, now_ns: int
) -> tuple[Stored, Mapping[str, object]]:
    """Store what an event changes; return the rollout after it, and what the audit trail says."""
    ats = event.ats if isinstance(event, Offered | RollbackBegan) else ()
    counters = {at: _next_counter(db, at) for at in ats}
    progress = rules.apply(stored.progress, event, counters)
    if isinstance(event, Offered):
        _direct(db, stored.number, [(at, counters[at], stored.sha256) for at in ats], now_ns)
        _point(db, stored.number, "counter", counters)
    if isinstance(event, RollbackBegan):
        before = {one.at: one.before or "" for one in progress.members}
        _direct(db, stored.number, [(at, counters[at], before[at]) for at in ats], now_ns)
        _point(db, stored.number, "back", counters)
    db.execute(
        "UPDATE rollouts SET state = ?, wave = ?, settled_ns = ?, reason = ? WHERE number = ?",
        (progress.state, progress.wave, progress.settled_ns, progress.reason, stored.number),
    )
    after = Stored(
        stored.number,
        stored.sha256,
        stored.members_sha256,
        stored.started_ns,
        stored.plan,
        progress,
    )
    return after, _told(event)


def _told(event: Event) -> Mapping[str, object]:
    detail = asdict(event)
    if "ats" in detail:
        detail["gateways"] = sorted(f"{at['site']}/{at['gateway']}" for at in detail.pop("ats"))
    return detail


def _next_counter(db: sqlite3.Connection, at: Gateway) -> int:
    reported, own = db.execute(_COUNTER, (at.site, at.gateway)).fetchone()
    return rules.next_counter(own, reported)


def _direct(
    db: sqlite3.Connection, number: int, directives: Sequence[tuple[Gateway, int, str]], now_ns: int
) -> None:
    db.executemany(
        "INSERT INTO directives (rollout, site, gateway, counter, sha256, state, reason, "
        "changed_ns) VALUES (?, ?, ?, ?, ?, ?, '', ?)",
        [
            (number, at.site, at.gateway, counter, sha256, DeviceState.OFFERED, now_ns)
            for at, counter, sha256 in directives
        ],
    )


def _point(
    db: sqlite3.Connection, number: int, column: str, counters: Mapping[Gateway, int]
) -> None:
    db.executemany(
        f"UPDATE members SET {column} = ? WHERE rollout = ? AND site = ? AND gateway = ?",  # noqa: S608 - two names of ours
        [(counter, number, at.site, at.gateway) for at, counter in counters.items()],
    )


def _standings(db: sqlite3.Connection, number: int) -> tuple[rules.Standing, ...]:
    found, blocks = [], sqlite_health.blocks(db, number)
    for row in db.execute(_STANDINGS, (number,)):
        site, gateway, wave, counter, state, reason, before, back, back_state, why, compares = row
        found.append(
            rules.Standing(
                Gateway(site, gateway),
                wave,
                counter,
                DeviceState(state or DeviceState.OFFERED),
                why or reason or "",
                before,
                back,
                DeviceState(back_state or DeviceState.OFFERED),
                blocks.get((site, gateway), 0),
                bool(compares),
            )
        )
    return tuple(found)
