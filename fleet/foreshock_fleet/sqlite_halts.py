"""The emergency stop in SQLite: the newest row says whether the fleet is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_fleet.errors import HaltedError
from foreshock_fleet.sqlite_audit import audit
from foreshock_wire.updates import Halt

if TYPE_CHECKING:
    import sqlite3


def newest(db: sqlite3.Connection) -> Halt | None:
    """Return the newest stop or end of one; None where the fleet was never stopped."""
    row = db.execute(
        "SELECT number, halted, reason, at_ns FROM halts ORDER BY number DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    number, halted, reason, at_ns = row
    return Halt(number=number, halted=bool(halted), reason=reason, issued_ns=at_ns)


def add(db: sqlite3.Connection, actor: str, now_ns: int, reason: str, *, halted: bool) -> Halt:
    """Stop the fleet, or end that; where it stands so already nothing changes."""
    known = newest(db)
    if known is not None and known.halted == halted:
        return known
    # A state that was restored from a backup must not give a number that gateways know already.
    number = max(known.number + 1 if known else 1, now_ns)
    db.execute("INSERT INTO halts VALUES (?, ?, ?, ?)", (number, halted, reason, now_ns))
    action = "emergency stop" if halted else "emergency stop ended"
    audit(db, now_ns, actor, action, {"number": number, "reason": reason})
    return Halt(number=number, halted=halted, reason=reason, issued_ns=now_ns)


def need_running(db: sqlite3.Connection) -> None:
    """Check that the fleet is not stopped.

    Raises:
        HaltedError: it is.
    """
    known = newest(db)
    if known is not None and known.halted:
        raise HaltedError(
            f"the fleet is stopped ({known.reason or 'no reason given'}): nothing changes before "
            "`foreshock fleet emergency-stop --end`"
        )
