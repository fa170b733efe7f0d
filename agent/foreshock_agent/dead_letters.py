"""The rejected messages that are kept for a look: how many by reason, and the newest of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3

SHOWN_BYTES: Final = 60
"""How much of a payload a person is shown."""


def dead_letters(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return for each reason how many messages are kept, and the newest one's topic and payload.

    The accounts count all that ever came (`messages.rejected`); kept are the newest 1,000 of them.
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
