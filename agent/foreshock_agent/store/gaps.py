"""Tombstones: what stands in a stream for records that are not there any more, and why.

A record that was numbered and cannot be sent leaves its seqs to a tombstone, so that the stream has
no hole: the lake's mark moves past it and the loss stands in its table of gaps. In the accounts the
records are `dropped` for the tombstone's reason from the moment that it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from foreshock_agent.damage.errors import StoreDamagedError
from foreshock_agent.store.seals import TOMBSTONES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from foreshock_agent.store.seals import Values
    from foreshock_wire.topics import Stream


class Tombstone(NamedTuple):
    """The records `first_seq` to `last_seq` of a stream were dropped."""

    stream: str
    epoch_n: int
    first_seq: int
    last_seq: int
    reason: str

    @property
    def size(self) -> int:
        """How many seqs it holds."""
        return self.last_seq - self.first_seq + 1


def add(db: sqlite3.Connection, tombstone: Tombstone) -> None:
    """Write a tombstone into the open transaction; no other may hold any of its seqs.

    It is made one with those of the same reason that touch it: the lake hears of a long loss once.
    """
    stream, epoch_n, first, last, reason = tombstone
    key = (stream, epoch_n, reason)
    where = "WHERE stream = ? AND epoch = ? AND reason = ? AND {} = ?"
    for column, seq in (("last_seq", first - 1), ("first_seq", last + 1)):
        for one in _intact(db, where.format(column), (*key, seq)):
            first, last = min(first, one.first_seq), max(last, one.last_seq)
            db.execute(
                "DELETE FROM tombstones WHERE stream = ? AND epoch = ? AND first_seq = ?",
                (stream, epoch_n, one.first_seq),
            )
    TOMBSTONES.put(db, [(stream, epoch_n, first, last, reason)])


def after(db: sqlite3.Connection, stream: Stream, epoch_n: int, mark: int) -> Tombstone | None:
    """Return the first tombstone that holds something above `mark`.

    Raises:
        StoreDamagedError: it is not what was written.
    """
    rest = "WHERE stream = ? AND epoch = ? AND last_seq > ? ORDER BY first_seq LIMIT 1"
    return next(_intact(db, rest, (stream, epoch_n, mark)), None)


def settle(db: sqlite3.Connection, stream: Stream, epoch_n: int, before: int, upto: int) -> int:
    """Forget tombstones that the lake holds; return how many seqs of `before`..`upto` were theirs.

    `before` is the cursor as it was, `upto` as it is.
    """
    rest = "WHERE stream = ? AND epoch = ? AND first_seq <= ? AND last_seq > ?"
    found = list(_intact(db, rest, (stream, epoch_n, upto, before)))
    db.execute(
        "DELETE FROM tombstones WHERE stream = ? AND epoch = ? AND last_seq <= ?",
        (stream, epoch_n, upto),
    )
    return sum(min(one.last_seq, upto) - max(one.first_seq, before + 1) + 1 for one in found)


def _intact(db: sqlite3.Connection, rest: str, values: Values) -> Iterator[Tombstone]:
    for row in TOMBSTONES.read(db, rest, values):
        if not row.intact:
            raise StoreDamagedError("the database is damaged: a tombstone is not what was written")
        yield Tombstone(*row.values)


def pending(db: sqlite3.Connection) -> dict[str, int]:
    """Return by stream how many unacknowledged seqs are tombstones' and not records'."""
    rows = db.execute(
        "SELECT t.stream, sum(t.last_seq - max(t.first_seq, c.acked_seq + 1) + 1) "
        "FROM tombstones AS t JOIN cursors AS c ON c.stream = t.stream AND c.epoch = t.epoch "
        "WHERE t.last_seq > c.acked_seq GROUP BY t.stream"
    )
    return dict(rows.fetchall())
