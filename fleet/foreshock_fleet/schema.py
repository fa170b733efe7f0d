"""The tables of the fleet's SQLite file, made with sqlite-utils."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from foreshock_fleet.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from sqlite_utils import Database

SCHEMA_VERSION: Final = 5

_META: Final = {"key": str, "value": str}
_RELEASES: Final = {
    "sha256": str,
    "size": int,
    "block_bytes": int,
    "name": str,
    "version": str,
    "path": str,
    "published_ns": int,
}
_DEVICES: Final = {
    "site": str,
    "gateway": str,
    "last_seen_ns": int,
    "state": str,
    "counter": int,
    "reason": str,
    "model": str,
    "version": str,
    "accounts": str,
    "problem": str,
    "labels": str,
    "drift": str,
    "session": str,
    "sessions": str,
    "cloned_ns": int,
    "silent_ns": int,
}
_ROLLOUTS: Final = {
    "number": int,
    "sha256": str,
    "state": str,
    "members_sha256": str,
    "started_ns": int,
    "plan": str,
    "wave": int,
    "settled_ns": int,
    "reason": str,
}
_DIRECTIVES: Final = {
    "number": int,
    "rollout": int,
    "site": str,
    "gateway": str,
    "counter": int,
    "sha256": str,
    "state": str,
    "reason": str,
    "changed_ns": int,
}
_AUDIT: Final = {"number": int, "at_ns": int, "actor": str, "action": str, "detail": str}

_CREATE_MEMBERS: Final = (
    "CREATE TABLE members (rollout INTEGER, site TEXT, gateway TEXT, wave INTEGER, "
    "before TEXT, counter INTEGER, back INTEGER, PRIMARY KEY (rollout, site, gateway))"
)
_CREATE_HEALTH: Final = (
    "CREATE TABLE health (rollout INTEGER, site TEXT, gateway TEXT, block INTEGER, "
    "begin_ns INTEGER, end_ns INTEGER, alarms INTEGER, errors INTEGER, latency INTEGER, "
    "false_alarms INTEGER, missed INTEGER, figures TEXT, "
    "PRIMARY KEY (rollout, site, gateway, block))"
)
_MEMBERS_COMPARE: Final = "ALTER TABLE members ADD COLUMN compares INTEGER NOT NULL DEFAULT 1"
_CREATE_HALTS: Final = (
    "CREATE TABLE halts (number INTEGER PRIMARY KEY AUTOINCREMENT, halted INTEGER, reason TEXT, "
    "at_ns INTEGER)"
)
_MIGRATIONS: Final = (
    ("ALTER TABLE devices ADD COLUMN problem TEXT NOT NULL DEFAULT ''",),
    (
        "ALTER TABLE devices ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE rollouts ADD COLUMN plan TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE rollouts ADD COLUMN wave INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE rollouts ADD COLUMN settled_ns INTEGER",
        "ALTER TABLE rollouts ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
        _CREATE_MEMBERS,
        "INSERT INTO members SELECT rollout, site, gateway, 1, NULL, counter, 0 FROM directives",
        "UPDATE rollouts SET state = 'active' WHERE state = 'wave_1'",
    ),
    (
        "ALTER TABLE devices ADD COLUMN drift TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE devices ADD COLUMN session TEXT",
        "ALTER TABLE devices ADD COLUMN sessions TEXT NOT NULL DEFAULT '[]'",
        "ALTER TABLE devices ADD COLUMN cloned_ns INTEGER",
        "ALTER TABLE devices ADD COLUMN silent_ns INTEGER",
        _CREATE_HEALTH,
        _CREATE_HALTS,
    ),
    (_MEMBERS_COMPARE,),
)
"""What brings each schema to the next: the first entry leads from 1 to 2."""


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version's schema, inside the caller's transaction.

    Raises:
        StateError: a newer Foreshock wrote it.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StateError(
            f"fleet state {path} has schema {version}, this Foreshock knows up to "
            f"{SCHEMA_VERSION}: update Foreshock on this machine"
        )
    if version == 0:
        # It imports pandas where that is installed: half a second, for a new file only.
        from sqlite_utils import Database  # noqa: PLC0415

        _create(Database(db))
        client_id = f"foreshock-fleet-{secrets.token_hex(4)}"
        db.execute("INSERT INTO meta VALUES ('client_id', ?)", (client_id,))
    for step in _MIGRATIONS[max(version, 1) - 1 :] if version else ():
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _create(db: Database) -> None:
    release = ("sha256", "releases", "sha256")
    db.table("meta").create(_META, pk="key")
    db.table("releases").create(_RELEASES, pk="sha256")
    db.table("devices").create(_DEVICES, pk=("site", "gateway"))
    db.table("rollouts").create(_ROLLOUTS, pk="number", foreign_keys=[release])
    db.table("directives").create(
        _DIRECTIVES, pk="number", foreign_keys=[("rollout", "rollouts", "number"), release]
    )
    db.conn.execute(_CREATE_MEMBERS)
    db.conn.execute(_MEMBERS_COMPARE)
    db.conn.execute(_CREATE_HEALTH)
    db.conn.execute(_CREATE_HALTS)
    db.table("directives").create_index(["site", "gateway", "counter"], unique=True)
    db.table("audit").create(_AUDIT, pk="number")
    for verb in ("UPDATE", "DELETE"):
        db.conn.execute(
            f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
        )
