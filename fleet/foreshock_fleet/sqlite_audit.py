"""The audit trail in SQLite: who did what, and when; it can only be added to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from foreshock_fleet.state import AuditEntry

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence


def audit(
    db: sqlite3.Connection, now_ns: int, actor: str, action: str, detail: Mapping[str, object]
) -> None:
    """Add an entry, in the transaction of what it tells of."""
    db.execute(
        "INSERT INTO audit (at_ns, actor, action, detail) VALUES (?, ?, ?, ?)",
        (now_ns, actor, action, json.dumps(detail)),
    )


def newest(db: sqlite3.Connection, limit: int) -> Sequence[AuditEntry]:
    """Return the newest entries, oldest first."""
    rows = db.execute(
        "SELECT at_ns, actor, action, detail FROM audit ORDER BY number DESC LIMIT ?", (limit,)
    ).fetchall()
    return [AuditEntry(at, who, what, json.loads(why)) for at, who, what, why in rows[::-1]]
