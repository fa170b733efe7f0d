"""Whether a database is whole: every checksum, the beacon, the sequences, the accounting law.

Reads only, in one snapshot, and works beside a running agent.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from foreshock_agent.damage import beacon
from foreshock_agent.damage.errors import UnreadableError
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.damage.rescue import COMMITS, TABLES
from foreshock_agent.store import streams
from foreshock_agent.store.accounts import broken_laws
from foreshock_agent.store.database import looking
from foreshock_agent.uplink.outbox import Outbox, pending_records
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from pathlib import Path

PORTION = 500
_END = 1 << 62


def verify(database: Path, step: Callable[[int], object]) -> dict[str, Any]:
    """Check a database; `step` hears how many rows were checked.

    Returns what was checked, each problem in words, and what is in quarantine.

    Raises:
        NoStoreError: there is none.
        StoreDamagedError: SQLite itself cannot read it.
    """
    problems: list[str] = []
    known = beacon.read(database)  # before the snapshot: a running agent goes on
    with looking(database) as db:
        rows = sum(_check_rows(db, problems, step))
        accounts = dict(db.execute("SELECT name, value FROM accounts").fetchall())
        pending = pending_records(db)
        problems += broken_laws(accounts, pending[Stream.READINGS])
        commits = accounts.get(COMMITS, 0)
        if known is not None and commits < known.commits:
            problems.append(f"it went back to commit {commits}: {known.commits} were made")
        _find_holes(database, db, problems)
    return {
        "rows": rows,
        "waiting": sum(pending.values()),
        "commits": commits,
        "problems": problems,
        "quarantine": [entry.name for entry in Quarantine.of(database).entries()],
    }


def rows_of(database: Path) -> int:
    """Return how many rows there are to check."""
    with looking(database) as db:
        return sum(
            int(db.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608
            for table in TABLES
        )


def _check_rows(
    db: sqlite3.Connection, problems: list[str], step: Callable[[int], object]
) -> Iterator[int]:
    for table in TABLES:
        for row in table.read(db):
            step(1)
            yield 1
            if not row.intact:
                problems.append(f"row {row.rowid} of {table.name} is not what was written")


def _find_holes(database: Path, db: sqlite3.Connection, problems: list[str]) -> None:
    """Walk through all that is still stored of what goes up, stretch by stretch."""
    with closing(Outbox(database)) as outbox:
        for stream in Stream:
            after: dict[str, int] = {}
            while True:
                try:
                    found = outbox.look(stream, after, PORTION)
                except UnreadableError as damage:
                    problems.append(str(damage))
                    if not _passed(db, damage, after):
                        break
                    continue
                if found is None:
                    break
                after[found[0]] = found[1]


def _passed(db: sqlite3.Connection, damage: UnreadableError, after: dict[str, int]) -> bool:
    """Go on behind what is damaged, if something follows."""
    lost = streams.unreadable(db, damage.stream, damage.epoch_n, damage.mark, _END)
    (epoch,) = db.execute("SELECT epoch FROM epochs WHERE n = ?", (damage.epoch_n,)).fetchone()
    after[epoch] = max(lost.last_seq, damage.mark)
    return damage.mark < lost.last_seq < _END
