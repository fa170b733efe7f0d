"""What can be believed of a damaged database, and how it comes into a fresh one.

Rows are read by number, around what cannot be read, and each is held against its checksum.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage import beacon
from foreshock_agent.damage.beacon import Known
from foreshock_agent.damage.errors import DAMAGED, SQLITE_ERRORS, is_corruption
from foreshock_agent.damage.header import Header
from foreshock_agent.store import gaps, schema
from foreshock_agent.store.accounts import DAMAGES
from foreshock_agent.store.cursors import Cursors
from foreshock_agent.store.database import connect
from foreshock_agent.store.seals import (
    ACCOUNTS,
    ALARM_HEADS,
    CHUNKS,
    CURSORS,
    EPOCHS,
    INTAKE,
    MACHINES,
    OUTGOING,
    SNAPSHOT,
    STATE,
    TOMBSTONES,
)
from foreshock_wire.errors import ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from foreshock_agent.store.seals import Sealed, Values

log = logging.getLogger(__name__)

AT_ONCE: Final = 2_000
"""Newest chunks that come over before the agent starts, for its windows: what a snapshot's age
leaves to replay. The others follow while it works."""

PATIENT_STEPS: Final = 1_000
"""Row numbers that are tried one by one behind an unreadable one; then in leaps."""

COMMITS: Final = "store.commits"
"""The account of the commits, over all starts."""

TABLES: Final = (*STATE, *OUTGOING)

COUNTED: Final = (MACHINES.name, ALARM_HEADS.name)
"""Tables whose rows never grow fewer."""


@contextmanager
def readable(file: Path) -> Iterator[sqlite3.Connection | None]:
    """Give a connection to a damaged database, its first page mended if need be; or None."""
    found = _connected(file, TABLES)
    if found is None and Header.of(file).mend():
        found = _connected(file, ())
    if found is None:
        yield None
        return
    with closing(found):
        yield found


def _connected(file: Path, needed: Iterable[Sealed]) -> sqlite3.Connection | None:
    if not file.exists():
        return None
    try:
        Header.of(file).check()
        db = connect(file, read_only=True)
    except (sqlite3.Error, ForeshockError):
        return None
    try:
        # Or SQLite would refuse a file that is shorter than its header says.
        db.execute("PRAGMA writable_schema=ON")
        db.execute("SELECT count(*) FROM sqlite_master")
        for table in needed:
            db.execute(f"SELECT {', '.join(table.columns)}, crc FROM {table.name} LIMIT 0")  # noqa: S608
    except (sqlite3.Error, UnicodeDecodeError) as error:
        log.warning("%s: %s", file, error)
        db.close()
        return None
    return db


def rows(db: sqlite3.Connection, table: Sealed, after: int = 0) -> Iterator[Values]:
    """Yield the intact rows of a table with numbers above `after`, around what is unreadable."""
    at, tries, step = after, 0, 1
    while at < 1 << 62:
        try:
            for row in table.read(db, "WHERE rowid > ? ORDER BY rowid", (at,)):
                if row.intact:
                    yield row.values
                    at, tries, step = max(at, row.rowid), 0, 1
        except SQLITE_ERRORS as error:
            if _is_missing(error):
                return
            if not is_corruption(error):
                raise
        else:
            return
        tries += 1
        step = 1 if tries < PATIENT_STEPS else step * 2
        at += step


def _is_missing(error: Exception) -> bool:
    """Say whether the table itself is gone: its line in the schema is damaged."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def begin(db: sqlite3.Connection, file: Path, entry: str) -> Known:
    """Fill a fresh database with the state of a damaged one; return what it holds.

    What the beacon beside it knows counts; without one, what the intact rows say.
    """
    with readable(file) as old:
        told = beacon.read(file) or _told_by(old)
        waiting = tuple(
            replace(epoch, salvage=" ".join(filter(None, (epoch.salvage, entry))))
            if any(epoch.acked[stream] < epoch.following[stream] - 1 for stream in Stream)
            else epoch
            for epoch in told.epochs
        )
        accounts = dict(told.accounts)
        accounts[COMMITS] = told.commits + 1
        accounts[DAMAGES] = accounts.get(DAMAGES, 0) + 1
        db.execute("BEGIN IMMEDIATE")
        for epoch in waiting:
            epoch.save(db)
        if old is not None:
            _copy_memory(old, db, told.last_n)
        for stream, count in told.tombstones.items():
            # What a lost tombstone stood for is a hole now, and will be counted as dropped again.
            lost = max(0, count - gaps.pending(db).get(stream, 0))
            accounts[f"{stream}.dropped.{DAMAGED}"] = (
                accounts.get(f"{stream}.dropped.{DAMAGED}", 0) - lost
            )
        ACCOUNTS.put(db, accounts.items())
        db.execute("COMMIT")
    counts = {
        table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - constants
        for table in COUNTED
    }
    return replace(
        told,
        commits=told.commits + 1,
        version=schema.version(db),
        schema=schema.fingerprint(db),
        counts=counts,
        epochs=waiting,
        tombstones=gaps.pending(db),
        accounts=accounts,
    )


def remember(file: Path, db: sqlite3.Connection) -> None:
    """Fill a fresh database with what windows and alarms go on from, and nothing that goes up.

    The other one is only read; of one that cannot be read there is nothing.
    """
    old = _connected(file, TABLES)
    if old is None:
        return
    with closing(old):
        told = _told_by(old)
        db.execute("BEGIN IMMEDIATE")
        for epoch in told.epochs:
            acked = {stream: mark - 1 for stream, mark in epoch.following.items()}
            replace(epoch, salvage=None, acked=acked).save(db)
        _copy_memory(old, db, told.last_n)
        db.execute("COMMIT")


def _told_by(old: sqlite3.Connection | None) -> Known:
    """Return what the intact rows of a database say, for want of a beacon."""
    nothing = Known(0, 0, 0, 0, {}, (), {}, {})
    if old is None:
        return nothing
    cursors = Cursors.of(rows(old, EPOCHS), rows(old, CURSORS))
    accounts: dict[str, int] = dict(rows(old, ACCOUNTS))
    last_n = max((values[0] for values in rows(old, SNAPSHOT)), default=0)
    return replace(
        nothing,
        commits=accounts.get(COMMITS, 0),
        last_n=last_n,
        epochs=tuple(cursors.epochs.values()),
        accounts=accounts,
    )


def _copy_memory(old: sqlite3.Connection, db: sqlite3.Connection, last_n: int) -> None:
    """Copy what windows, alarms and the knowledge of copies begin with.

    Without the snapshot's own row, its machines' states belong to nothing.
    """
    for table in (ALARM_HEADS, INTAKE, SNAPSHOT, TOMBSTONES):
        table.put(db, rows(old, table), "INSERT OR IGNORE")
    (snapshot_n,) = db.execute("SELECT max(n) FROM snapshot").fetchone()
    states = rows(old, MACHINES)
    if snapshot_n is None:
        states = ((machine, None) for machine, _ in states)
        snapshot_n = max(0, last_n - AT_ONCE)
    MACHINES.put(db, states, "INSERT OR IGNORE")
    CHUNKS.put(db, list(islice(rows(old, CHUNKS, snapshot_n), AT_ONCE)), "INSERT OR IGNORE")
