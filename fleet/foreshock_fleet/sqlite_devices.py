"""Gateways in SQLite: what each last said of itself, and what is strange about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from foreshock_fleet.errors import NoGatewayError
from foreshock_fleet.sqlite_audit import audit
from foreshock_fleet.state import Device
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from foreshock_wire.updates import Report

KEEP_SESSIONS: Final = 16
CLONE_AGAIN_NS: Final = 3600 * 10**9
"""A clone speaks at every heartbeat; the audit trail is told of it once an hour."""

_SAW: Final = """
INSERT INTO devices (site, gateway, last_seen_ns, state, counter, reason, model, version, accounts,
    problem, labels, drift, sessions)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}', ?, '[]')
ON CONFLICT (site, gateway) DO UPDATE SET last_seen_ns = excluded.last_seen_ns,
    state = excluded.state, counter = max(counter, excluded.counter), reason = excluded.reason,
    model = excluded.model, version = excluded.version, accounts = excluded.accounts,
    problem = excluded.problem, drift = excluded.drift, silent_ns = NULL
"""
_COLUMNS: Final = (
    "site, gateway, last_seen_ns, state, counter, reason, model, version, accounts, problem, "
    "labels, drift, cloned_ns, silent_ns"
)
_UNPROVEN: Final = """
SELECT m.before FROM directives d
JOIN rollouts r ON r.number = d.rollout AND r.sha256 = d.sha256
JOIN members m ON m.rollout = d.rollout AND m.site = d.site AND m.gateway = d.gateway
    AND m.counter = d.counter
WHERE d.site = ? AND d.gateway = ? AND d.sha256 = ? AND r.state NOT IN ('complete', 'incomplete')
ORDER BY d.number DESC LIMIT 1
"""


def see(db: sqlite3.Connection, at: Gateway, report: Report, now_ns: int) -> None:
    """Take what a gateway says of itself."""
    known = db.execute(
        "SELECT session, sessions, cloned_ns, silent_ns FROM devices "
        "WHERE site = ? AND gateway = ?",
        (at.site, at.gateway),
    ).fetchone()
    told = (report.state, report.counter, report.reason, report.model, report.version)
    sketches = (json.dumps(report.accounts), report.problem, json.dumps(report.drift))
    db.execute(_SAW, (at.site, at.gateway, now_ns, *told, *sketches))
    if known is None:
        audit(db, now_ns, name(at), "gateway appeared", {"version": report.version})
    elif known[3] is not None:
        audit(db, now_ns, name(at), "gateway is back", {"silent_since_ns": known[3]})
    _note_session(db, at, report.session, known or (None, "[]", None, None), now_ns)


def _note_session(
    db: sqlite3.Connection,
    at: Gateway,
    session: str | None,
    known: Any,  # noqa: ANN401 - a row
    now_ns: int,
) -> None:
    """A process that speaks again after another one did is a second gateway of this name."""
    last, past, cloned_ns, _ = known
    if session is None or session == last:
        return
    earlier = json.loads(past)
    cloned = session in earlier
    kept = json.dumps([*(one for one in earlier if one != session), last][-KEEP_SESSIONS:])
    db.execute(
        "UPDATE devices SET session = ?, sessions = ?, cloned_ns = ? "
        "WHERE site = ? AND gateway = ?",
        (session, kept, now_ns if cloned else cloned_ns, at.site, at.gateway),
    )
    if cloned and (cloned_ns is None or now_ns - cloned_ns > CLONE_AGAIN_NS):
        detail = {"sessions": [last, session]}
        audit(db, now_ns, name(at), "identity used twice", detail)


def mark_silent(db: sqlite3.Connection, before_ns: int, now_ns: int) -> int:
    """Mark the gateways that were last heard before then; return how many are new."""
    where = "WHERE silent_ns IS NULL AND last_seen_ns < ?"
    rows = db.execute(
        f"SELECT site, gateway, last_seen_ns FROM devices {where}",  # noqa: S608 - ours
        (before_ns,),
    ).fetchall()
    for site, gateway, seen_ns in rows:
        audit(db, now_ns, f"{site}/{gateway}", "gateway vanished", {"last_seen_ns": seen_ns})
    db.execute(f"UPDATE devices SET silent_ns = last_seen_ns {where}", (before_ns,))  # noqa: S608 - ours
    return len(rows)


def everyone(db: sqlite3.Connection) -> Sequence[Device]:
    """Return every gateway that ever reported."""
    query = f"SELECT {_COLUMNS} FROM devices ORDER BY site, gateway"  # noqa: S608 - names of ours
    return [_device(db, row) for row in db.execute(query)]


def _device(db: sqlite3.Connection, row: Any) -> Device:  # noqa: ANN401 - a row of the devices table
    site, gateway, seen_ns, state, counter, reason, model, version, *rest = row
    accounts, problem, labels, drift, cloned_ns, silent_ns = rest
    at = Gateway(site, gateway)
    return Device(
        at,
        seen_ns,
        DeviceState(state) if state is not None else None,
        counter,
        reason,
        model,
        version,
        json.loads(accounts),
        problem,
        labels_of(labels),
        last_good=_last_good(db, at, model),
        drift=json.loads(drift or "{}"),
        cloned_ns=cloned_ns,
        silent_ns=silent_ns,
    )


def _last_good(db: sqlite3.Connection, at: Gateway, model: str | None) -> str | None:
    """Return the model to go back to: not one of a rollout that never came to its end."""
    row = db.execute(_UNPROVEN, (at.site, at.gateway, model)).fetchone()
    return row[0] if row else model


def set_labels(
    db: sqlite3.Connection, at: Gateway, labels: Mapping[str, str], actor: str, now_ns: int
) -> None:
    """Give a gateway labels; an empty value takes one away.

    Raises:
        NoGatewayError: it has never reported.
    """
    where = (at.site, at.gateway)
    row = db.execute("SELECT labels FROM devices WHERE site = ? AND gateway = ?", where).fetchone()
    if row is None:
        raise NoGatewayError(f"no gateway {name(at)} has reported yet")
    merged = {**labels_of(row[0]), **labels}
    kept = json.dumps({key: value for key, value in merged.items() if value})
    db.execute("UPDATE devices SET labels = ? WHERE site = ? AND gateway = ?", (kept, *where))
    audit(db, now_ns, actor, "labels set", {"gateway": name(at), "labels": dict(labels)})


def labels_of(text: str) -> Mapping[str, str]:
    """Return the labels of a devices row."""
    return {str(key): str(value) for key, value in json.loads(text or "{}").items()}


def name(at: Gateway) -> str:
    """Return how the audit trail names a gateway."""
    return f"{at.site}/{at.gateway}"
