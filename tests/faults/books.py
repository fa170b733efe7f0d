"""What an agent has stored, read on from where the last look ended: a look costs what is new."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from foreshock_agent.store.accounts import broken_laws
from foreshock_agent.store.chunks import find
from foreshock_agent.store.database import connect
from foreshock_agent.uplink.outbox import pending_records
from foreshock_wire.topics import Stream
from tests.agent.rig import identities

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from tests.faults.machines import Key


class Books:
    """The readings of a database from which nothing is trimmed; `keys` are those of the last look.

    Each look holds the accounts against the law, and what was seen before against what is there.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._last_n = 0
        self._count = 0
        self.keys: set[Key] = set()

    def look(self) -> None:
        """Read what is new, in one snapshot, while the agent may be running."""
        with closing(connect(self._database, read_only=True)) as db:
            db.execute("BEGIN")
            self._read_on(db)
            accounts = dict(db.execute("SELECT name, value FROM accounts"))
            assert broken_laws(accounts, pending_records(db)[Stream.READINGS]) == []
            assert accounts.get("readings.stored", 0) == self._count

    def _read_on(self, db: sqlite3.Connection) -> None:
        for chunk in find(db, "n > ? ORDER BY n", (self._last_n,)):
            self.keys.update(identities(chunk.readings))
            self._count += len(chunk.readings)
            self._last_n = chunk.n
        (stored,) = db.execute(
            "SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM chunks"
        ).fetchone()
        assert stored == self._count, f"{self._count} readings were committed, {stored} are there"
