"""The tables of the fleet's SQLite file, made with sqlite-utils."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from foreshock_fleet.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from sqlite_utils import Database

SCHEMA_VERSION: Final = 2

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
}
_ROLLOUTS: Final = {
    "number": int,
    "sha256": str,
    "state": str,
    "members_sha256": str,
    "started_ns": int,
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
    elif version == 1:
        db.execute("ALTER TABLE devices ADD COLUMN problem TEXT NOT NULL DEFAULT ''")
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
    db.table("directives").create_index(["site", "gateway", "counter"], unique=True)
    db.table("audit").create(_AUDIT, pk="number")
    for verb in ("UPDATE", "DELETE"):
        db.conn.execute(
            f"CREATE TRIGGER audit_no_{verb.lower()} BEFORE {verb} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
        )
