"""The rejected messages that are kept for a look: how many by reason, and the newest of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

KEPT: Final = 1000
"""Newest rejected messages that are kept."""

TOPIC_CHARACTERS: Final = 256
PAYLOAD_BYTES: Final = 4096
"""What is kept of one."""

SHOWN_BYTES: Final = 60
"""How much of a payload a person is shown."""


class Letter(NamedTuple):
    """A rejected message as it is kept; `received_ns` is when it came (UTC)."""

    id: int
    reason: str
    received_ns: int
    topic: str
    payload: bytes

    @property
    def cut(self) -> bool:
        """Whether only its beginning may have been kept."""
        return len(self.topic) >= TOPIC_CHARACTERS or len(self.payload) >= PAYLOAD_BYTES

    @property
    def shown(self) -> str:
        """The beginning of the payload, in printable characters."""
        text = self.payload[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
        return text.encode("unicode_escape").decode("ascii")


def keep_letter(
    db: sqlite3.Connection, topic: str, payload: bytes, reason: str, received_ns: int
) -> None:
    """Keep a rejected message in the open transaction; the oldest make room."""
    cursor = db.execute(
        "INSERT INTO quarantine (topic, payload, reason, received_ns) VALUES (?, ?, ?, ?)",
        (topic[:TOPIC_CHARACTERS], payload[:PAYLOAD_BYTES], reason, received_ns),
    )
    db.execute("DELETE FROM quarantine WHERE id <= ?", ((cursor.lastrowid or 0) - KEPT,))


def kept_letters(db: sqlite3.Connection) -> Iterator[Letter]:
    """Yield the kept messages, oldest first."""
    query = "SELECT id, reason, received_ns, topic, payload FROM quarantine ORDER BY id"
    return map(Letter._make, db.execute(query))


def dead_letters(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return for each reason how many messages are kept, and the newest one's topic and payload.

    The accounts count all that ever came (`messages.rejected`).
    """
    rows = db.execute(
        "SELECT reason, kept, received_ns, topic, substr(payload, 1, ?) FROM quarantine JOIN "
        "(SELECT max(id) AS newest, count(*) AS kept FROM quarantine GROUP BY reason) "
        "ON id = newest ORDER BY kept DESC, reason",
        (SHOWN_BYTES,),
    )
    return [
        {
            "reason": reason,
            "kept": kept,
            "newest_ns": received_ns,
            "topic": topic,
            "payload": bytes(payload).decode("utf-8", "backslashreplace"),
        }
        for reason, kept, received_ns, topic, payload in rows
    ]
