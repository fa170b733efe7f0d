"""The database's tables and how an older one becomes a newer one (sqlite-utils)."""

from __future__ import annotations

import sys
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_agent.store import chunks, seals
from foreshock_wire.batch import Readings
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from sqlite_utils import Database

READINGS: Final = {
    "epoch": int,
    "seq": int,
    "machine": str,
    "channel": str,
    "time_ns": int,
    "value": float,
    "received_ns": int,
    "flags": int,
}
SCORES: Final = {
    "epoch": int,
    "seq": int,
    "machine": str,
    "time_ns": int,
    "scored_ns": int,
    "model": str,
    "margin": float,
    "probability": float,
    "novelty": float,
}
RECORDS: Final = {"epoch": int, "stream": str, "seq": int, "body": str}


class StoreTooNewError(ForeshockError):
    """The database was written by a newer agent."""


def _first(db: Database) -> None:
    """Create version 1."""
    db.table("epochs").create({"n": int, "epoch": str, "started_ns": int}, pk="n")
    db.table("readings").create(READINGS, pk=("epoch", "seq"))
    db.table("readings").create_index(["machine", "channel", "time_ns"], unique=True)
    db.table("scores").create(SCORES, pk=("epoch", "seq"))
    db.table("records").create(RECORDS, pk=("stream", "epoch", "seq"))
    db.table("cursors").create(
        {"epoch": int, "stream": str, "next_seq": int, "acked_seq": int}, pk=("epoch", "stream")
    )
    db.table("accounts").create({"name": str, "value": int}, pk="name")
    db.table("machines").create({"machine": str, "newest_ns": int, "scored_ns": int}, pk="machine")
    db.table("alarm_heads").create({"machine": str, "head": str, "alarm": str}, pk="machine")
    db.table("intake").create({"packet_id": int, "payload_hash": int, "n": int}, pk="packet_id")
    db.table("quarantine").create(
        {"id": int, "topic": str, "payload": bytes, "reason": str, "received_ns": int}, pk="id"
    )


CHUNKS: Final = {
    "n": int,
    "epoch": int,
    "first_seq": int,
    "last_seq": int,
    "oldest_ns": int,
    "newest_ns": int,
    "settled_ns": int,
    "kept": int,
    "body": bytes,
}
CHUNK_ROWS: Final = 5_000
"""Readings of version 1 that one chunk takes."""


def _second(db: Database) -> None:
    """Readings become chunks; what waits to go up keeps its keys."""
    db.table("chunks").create(CHUNKS, pk="n")
    db.table("chunks").create_index(["epoch", "last_seq"])
    db.table("chunks").create_index(["newest_ns", "oldest_ns"])
    db.table("chunks").create_index(["kept", "n", "settled_ns"])
    db.table("snapshot").create({"id": int, "n": int, "windows": str}, pk="id")
    for change in ("DROP COLUMN newest_ns", "DROP COLUMN scored_ns", "ADD COLUMN state BLOB"):
        db.conn.execute(f"ALTER TABLE machines {change}")
    for n, (epoch_n, batch) in enumerate(_batches_of_rows(db.conn), start=1):
        _add_chunk(db.conn, n, epoch_n, batch)
    db.table("readings").drop()


def _add_chunk(db: sqlite3.Connection, n: int, epoch_n: int, batch: Readings) -> None:
    """Write a chunk as version 2 did, without a checksum over its row."""
    columns = ", ".join(CHUNKS)
    places = ", ".join("?" * len(CHUNKS))
    row = chunks.row_of(n, epoch_n, batch)
    db.execute(f"INSERT INTO chunks ({columns}) VALUES ({places})", row)  # noqa: S608 - constants


def _batches_of_rows(db: sqlite3.Connection) -> Iterator[tuple[int, Readings]]:
    """Yield version 1's readings in order, each batch without holes in its seqs."""
    epochs = dict(db.execute("SELECT n, epoch FROM epochs"))
    rows = db.execute(
        "SELECT epoch, seq, machine, channel, time_ns, received_ns, value, flags, "
        "seq - row_number() OVER (PARTITION BY epoch ORDER BY seq) FROM readings "
        "ORDER BY epoch, seq"
    )
    for (epoch_n, _), run in groupby(rows, key=lambda row: (row[0], row[-1])):
        for part in _parts(run, CHUNK_ROWS):
            yield epoch_n, _batch(epochs[epoch_n], part)


def _parts(rows: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while part := list(islice(rows, size)):
        yield part


def _batch(epoch: str, rows: list[tuple[Any, ...]]) -> Readings:
    _, seq, machine, channel, time_ns, received_ns, value, flags, _ = zip(*rows, strict=True)
    machines, channels = list(dict.fromkeys(machine)), list(dict.fromkeys(channel))
    return Readings(
        epoch=epoch,
        first_seq=seq[0],
        machines=machines,
        channels=channels,
        machine=np.array([machines.index(name) for name in machine], np.uint16),
        channel=np.array([channels.index(name) for name in channel], np.uint16),
        time_ns=np.array(time_ns, np.int64),
        received_ns=np.array(received_ns, np.int64),
        value=np.array(value, np.float32),
        flags=np.array(flags, np.uint8),
    )


TOMBSTONES: Final = {"stream": str, "epoch": int, "first_seq": int, "last_seq": int, "reason": str}


def _third(db: Database) -> None:
    """Rows come under checksums; dropped records leave tombstones; epochs may be salvaged."""
    db.conn.execute("ALTER TABLE epochs ADD COLUMN salvage TEXT")
    db.table("tombstones").create(TOMBSTONES, pk=("stream", "epoch", "first_seq"))
    for table in (*seals.STATE, *seals.OUTGOING):
        db.conn.execute(f"ALTER TABLE {table.name} ADD COLUMN crc INTEGER")
        table.reseal(db.conn)


PERIODS: Final = {"machine": str, "episode": int, "from_ns": int, "to_ns": int}


def _fourth(db: Database) -> None:
    """A full store knows what lies around alarms."""
    db.table("periods").create(PERIODS, pk=("machine", "episode"))
    db.table("periods").create_index(["to_ns", "from_ns"])


MIGRATIONS: Final[list[Callable[[Database], None]]] = [_first, _second, _third, _fourth]
"""Migration i makes version i + 1; a released one is never changed."""


def version(db: sqlite3.Connection) -> int:
    """Return the version that a database says it has; 0 is an empty one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def fingerprint(db: sqlite3.Connection) -> int:
    """Return a checksum over the schema and where its tables begin."""
    rows = db.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY name")
    return seals.seal([tuple(row) for row in rows])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version, each step in a transaction of its own.

    Raises:
        StoreTooNewError: it is newer than this agent.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise StoreTooNewError(
            f"the database has version {version}, this agent knows up to {len(MIGRATIONS)}: "
            "start the newer agent again, or move the database aside"
        )
    if version == len(MIGRATIONS):
        return
    db = _database(connection)
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        step(db)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def _database(connection: sqlite3.Connection) -> Database:
    """Return the database as sqlite-utils sees it, without pandas.

    It would import it where there is one: 70 MiB that the agent would hold from then on.
    """
    absent = "pandas" not in sys.modules
    if absent:
        sys.modules["pandas"] = None  # type: ignore[assignment] # makes its import fail
    try:
        from sqlite_utils import Database  # noqa: PLC0415 - only a new or an older file needs it
    finally:
        if absent:
            del sys.modules["pandas"]
    return Database(connection)
