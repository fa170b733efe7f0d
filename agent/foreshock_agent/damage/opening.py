"""Opening the database: whole, or put aside and begun anew with what can be believed of it.

A start looks at what it reads whole anyway (the file's header, the schema, the rows of state) and
holds it against the beacon; what waits to go up is checked when it is read. A database that is not
what was written is moved to the quarantine, and a fresh one takes its place: with the accounts and
cursors that the beacon tells, the machines, alarms and newest readings that can be read, and a
note in each epoch with unsent records that these have yet to be salvaged. Killed anywhere, the next
start does the same again: a mark on the disk stands until it is done.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING, NamedTuple

from foreshock_agent.damage import beacon, rescue
from foreshock_agent.damage.errors import SQLITE_ERRORS, StoreDamagedError, corruption_told
from foreshock_agent.damage.header import Header
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.store import schema
from foreshock_agent.store.database import connect
from foreshock_agent.store.seals import ACCOUNTS, CURSORS, EPOCHS, STATE
from foreshock_wire.errors import ForeshockError
from foreshock_wire.files import hold, sync, write_durably
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_agent.damage.beacon import Known

log = logging.getLogger(__name__)


class StoreError(ForeshockError):
    """The database cannot be used; the message says which, why and what to do."""


class Opened(NamedTuple):
    """A database that can be believed, what the beacon says, and the lock on its folder."""

    lock: IO[bytes]
    db: sqlite3.Connection
    known: Known | None


def opened(path: Path) -> Opened:
    """Open the agent's database as its only writer.

    Raises:
        StoreError: another agent runs on it, or it cannot be read or written.
        StoreTooNewError: it was written by a newer agent.
    """
    lock = _lock(path.with_suffix(".lock"))
    try:
        return _opened(path, lock)
    except BaseException as error:
        lock.close()
        if not isinstance(error, sqlite3.Error | OSError):
            raise
        raise StoreError(
            f"database {path}: {error}; free the disk or its permissions and start again"
        ) from None


def _opened(path: Path, lock: IO[bytes]) -> Opened:
    known = beacon.read(path)
    if not _mark_of(path).exists():
        try:
            return Opened(lock, _checked(path, known), known)
        except StoreDamagedError as fault:
            mark_damaged(path, str(fault))
    known = _begin_anew(path)
    return Opened(lock, _checked(path, known), known)


def _lock(path: Path) -> IO[bytes]:
    """Hold the data folder for this process."""
    try:
        return hold(path, wait=False)
    except BlockingIOError:
        raise StoreError(
            f"another agent runs on {path.parent}: stop it, or give this one its own data_dir"
        ) from None
    except OSError as error:
        raise StoreError(f"data folder {path.parent}: {error.strerror}") from None


# Whether it can be believed -----------------------------------------------------------------


def _checked(path: Path, known: Known | None) -> sqlite3.Connection:
    """Return the database, at its newest version.

    Raises:
        StoreDamagedError: it is not what was written.
    """
    if known is not None and not path.exists():
        raise StoreDamagedError("the database is gone")
    Header.of(path).check()
    with corruption_told(SQLITE_ERRORS):
        db = connect(path)
        try:
            _check(db, known)
        except BaseException:
            db.close()
            raise
    return db


def _check(db: sqlite3.Connection, known: Known | None) -> None:
    if known is not None:
        _check_schema(db, known)
    schema.migrate(db)
    for table in STATE:
        if not all(row.intact for row in table.read(db)):
            raise StoreDamagedError(
                f"the database is damaged: a row of {table.name} is not what was written"
            )
    _check_whole(db)
    if known is not None:
        _check_against(db, known)


def _check_schema(db: sqlite3.Connection, known: Known) -> None:
    """Hold it against what is known; a newer agent changes the schema with its version."""
    newest, version = len(schema.MIGRATIONS), schema.version(db)
    unchanged = schema.fingerprint(db) == known.schema
    if version == known.version and not unchanged:
        raise StoreDamagedError("the database is damaged: its schema is not what was written")
    if version < known.version or (version > newest >= known.version and unchanged):
        raise StoreDamagedError(
            f"the database is damaged: it says version {version}, and was {known.version}"
        )


def _check_whole(db: sqlite3.Connection) -> None:
    epochs = {row.values[0] for row in EPOCHS.read(db)}
    cursors = sorted(row.values[:2] for row in CURSORS.read(db))
    if cursors != sorted((n, str(stream)) for n in epochs for stream in Stream):
        raise StoreDamagedError("the database is damaged: a cursor or an epoch is missing")


def _check_against(db: sqlite3.Connection, known: Known) -> None:
    """Hold the database against what is known to have been committed."""
    accounts: dict[str, int] = dict(row.values for row in ACCOUNTS.read(db))
    commits = accounts.get(rescue.COMMITS, 0)
    if commits < known.commits:
        raise StoreDamagedError(
            f"the database went back to commit {commits}: {known.commits} were made"
        )
    if missing := known.accounts.keys() - accounts.keys():
        raise StoreDamagedError(f"the database is damaged: account {min(missing)} is missing")
    for table, count in known.counts.items():
        (found,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - constants
        if found < count:
            raise StoreDamagedError(f"the database is damaged: {table} has {found} rows of {count}")


# Begun anew ---------------------------------------------------------------------------------


def _mark_of(path: Path) -> Path:
    return path.with_suffix(".damaged")


def mark_damaged(path: Path, reason: str) -> None:
    """Note that the database cannot be believed: the next opening begins anew."""
    mark = _mark_of(path)
    if mark.exists():
        return
    name = Quarantine.of(path).name("database")
    write_durably(mark, json.dumps({"reason": reason, "entry": name}).encode())


def _begin_anew(path: Path) -> Known:
    """Put the database aside and make a fresh one of what can be believed; return what it holds."""
    reason, entry = _said(_mark_of(path))
    log.error("%s: it is put aside as quarantine/%s, and a fresh one begun", reason, entry)
    folder = Quarantine.of(path).open(entry, "a database", reason)
    _move(path, folder)
    fresh = path.with_suffix(".building")
    for leftover in fresh.parent.glob(fresh.name + "*"):
        leftover.unlink()
    with closing(connect(fresh)) as db:
        db.execute("PRAGMA synchronous=OFF")  # it counts when it is whole
        schema.migrate(db)
        known = rescue.begin(db, folder / path.name, entry)
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)
    with closing(beacon.Beacon(path)) as told:
        told.write(known)
    _mark_of(path).unlink()
    sync(path.parent)
    return known


def _said(mark: Path) -> tuple[str, str]:
    """Return the reason and the quarantine's entry of a mark; one that was cut off says little."""
    try:
        said = json.loads(mark.read_bytes())
        return str(said["reason"]), str(said["entry"])
    except (ValueError, KeyError, TypeError):
        return "the database is damaged", "database-of-a-mark-that-was-cut-off"


def _move(path: Path, folder: Path) -> None:
    """Move the database and all that is known of it; the database last, which says that it is done.

    So a start that was killed in between finds everything there, and the fresh one stays.
    """
    aside = folder / path.name
    if aside.exists():
        return
    logs = (path.with_name(path.name + suffix) for suffix in ("-shm", "-wal"))
    for file in (path.with_suffix(".head"), *beacon.paths(path), *logs):
        with suppress(FileNotFoundError):
            file.replace(folder / file.name)
    path.touch()  # one that is gone is put aside as an empty one
    path.replace(aside)
    sync(folder)
    sync(path.parent)
