"""The database's tables and how an older one becomes a newer one (sqlite-utils)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlite_utils import Database

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

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


MIGRATIONS: Final[list[Callable[[Database], None]]] = [_first]
"""Migration i makes version i + 1; a released one is never changed."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version, each step in a transaction of its own.

    Raises:
        StoreTooNewError: it is newer than this agent.
    """
    db = Database(connection)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise StoreTooNewError(
            f"the database has version {version}, this agent knows up to {len(MIGRATIONS)}: "
            "start the newer agent again, or move the database aside"
        )
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        step(db)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
