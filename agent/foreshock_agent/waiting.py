"""What waits to go up, for a person at the gateway; reads only."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from foreshock_agent.damage import corruption_told
from foreshock_agent.database import connect
from foreshock_agent.outbox import pending_records
from foreshock_agent.status import NoStoreError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from pathlib import Path

_PENDING = "JOIN cursors AS c ON c.epoch = t.epoch AND c.stream = ?1 WHERE"
_QUERIES = {
    Stream.READINGS: f"SELECT sum(length(body)), min(oldest_ns) FROM chunks AS t {_PENDING} "  # noqa: S608
    "last_seq > acked_seq AND kept = 0",
    Stream.SCORES: f"SELECT 0, min(time_ns) FROM scores AS t {_PENDING} seq > acked_seq",  # noqa: S608
}
_RECORDS = (
    "SELECT sum(length(body)), "  # noqa: S608 - constants
    "min(CASE WHEN json_valid(body) THEN json_extract(body, '$.time_ns') END) FROM records AS t "
    f"{_PENDING} t.stream = ?1 AND seq > acked_seq"
)


def waiting(database: Path) -> dict[str, dict[str, Any]]:
    """Return by stream how many records wait, the bytes of their bodies, and the oldest's time.

    Scores have no bodies: they are columns. A time (UTC, ns) is None where nothing waits.

    Raises:
        NoStoreError: there is no database.
        StoreDamagedError: SQLite cannot read it.
    """
    if not database.exists():
        raise NoStoreError(f"{database} does not exist: has the agent run with these settings?")
    found = {}
    with corruption_told(), closing(connect(database, read_only=True)) as db:
        db.execute("BEGIN")
        for stream, count in pending_records(db).items():
            size, oldest = db.execute(_QUERIES.get(stream, _RECORDS), (stream,)).fetchone()
            found[str(stream)] = {"records": count, "bytes": size or 0, "oldest_ns": oldest}
    return found
