"""Finds in the database what a full store drops, by the order of `worth.py`; oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_agent.store import worth
from foreshock_agent.store.room import Room
from foreshock_agent.store.worth import Cursor, Span, Worth
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

PAGE_ROWS: Final = 500
"""Rows that are looked at together."""

ROW_BYTES: Final = 120
"""What a row takes beside its body: its other columns, its indices."""

Key = tuple[int, int]
"""(epoch, seq)."""

_BEGIN: Final[Key] = (0, 0)
_END: Final[Key] = (1 << 62, 0)

_ORDINARY: Final = "NOT EXISTS (SELECT 1 FROM periods AS p WHERE p.from_ns <= {} AND p.to_ns >= {})"
_ORDINARY_SCORE: Final = (
    "NOT EXISTS (SELECT 1 FROM periods AS p WHERE p.machine = scores.machine "
    "AND p.from_ns <= scores.time_ns AND p.to_ns >= scores.time_ns)"
)


class Drops:
    """Chooses what goes; remembers of each class how far it has looked."""

    def __init__(self, db: sqlite3.Connection, reach: int) -> None:
        self._db = db
        self._reach = reach
        self._from = dict.fromkeys(Worth, _BEGIN)

    def room(self, free: int) -> Room:
        """Return what room there is, given the free bytes of the file system."""
        page, pages, unused = (
            int(self._db.execute(f"PRAGMA {what}").fetchone()[0])
            for what in ("page_size", "page_count", "freelist_count")
        )
        return Room(free, page * unused, page * (pages - unused))

    def choose(self, wanted: int, dearest: Worth = Worth.ALARMS) -> tuple[Stream, list[Span]]:
        """Return the stream of the cheapest class that has something, and runs of its records.

        They free `wanted` bytes, or are all there is of the class. Of the readings only what the
        last snapshot holds may go: later chunks are replayed by a restart. Nothing goes that is
        worth more than the `dearest` class.
        """
        (upto_n,) = self._db.execute("SELECT coalesce(max(n), 0) FROM snapshot").fetchone()
        for one in (one for one in Worth if one <= dearest):
            found = list(worth.cheapest(self._spans(one, upto_n), wanted))
            if found:
                return one.stream, list(worth.runs(found))
        return Stream.READINGS, []

    def _spans(self, one: Worth, upto_n: int) -> Iterator[Span]:
        """Yield what may go of a class, from where the last call ended, then from the beginning.

        Thinning never looks back: what it left is for the next class.
        """
        began = self._from[one]
        yield from self._between(one, began, _END, upto_n)
        if began > _BEGIN and one is not Worth.THINNABLE:
            yield from self._between(one, _BEGIN, began, upto_n)

    def _between(self, one: Worth, after: Key, until: Key, upto_n: int) -> Iterator[Span]:
        """Yield what may go of a class between two keys, and remember where that was."""
        self._from[one] = after
        floor = self._floor(one.stream)
        while rows := self._rows(one, max(floor, self._from[one]), until, upto_n):
            for n, span in rows:
                self._from[one] = (span.epoch_n, span.last_seq)
                if one is not Worth.THINNABLE or not worth.stays_when_thinned(n):
                    yield span

    def _floor(self, stream: Stream) -> Key:
        """Return the key up to which a stream may be on its way to the lake, or is there."""
        rows = self._db.execute(
            "SELECT epoch, acked_seq, next_seq - 1 FROM cursors WHERE stream = ? ORDER BY epoch",
            (stream,),
        )
        return worth.reach_of((Cursor(*row) for row in rows), self._reach)

    def _rows(self, one: Worth, after: Key, until: Key, upto_n: int) -> list[tuple[int, Span]]:
        query, values = _query(one, upto_n)
        return [
            (n, Span(epoch_n, first, last, size + ROW_BYTES))
            for n, epoch_n, first, last, size in self._db.execute(query, (*after, *until, *values))
        ]


def _query(one: Worth, upto_n: int) -> tuple[str, tuple[object, ...]]:
    """Return SQL for the rows of a class: (n, epoch, first, last, bytes), after a key."""
    sign = "NOT " if one.around_alarms else ""
    values: tuple[object, ...] = ()
    if one.stream is Stream.READINGS:
        columns, table, seq = "n, epoch, first_seq, last_seq, length(body)", "chunks", "first_seq"
        where = f"kept = 0 AND n <= ? AND {sign}{_ORDINARY.format('newest_ns', 'oldest_ns')}"
        values = (upto_n,)
    elif one.stream is Stream.SCORES:
        columns, table, seq = "0, epoch, seq, seq, 0", "scores", "seq"
        where = sign + _ORDINARY_SCORE
    else:
        columns, table, seq = "0, epoch, seq, seq, length(body)", "records", "seq"
        where, values = "stream = ?", (one.stream,)
    query = (
        f"SELECT {columns} FROM {table} WHERE (epoch, {seq}) > (?, ?) "  # noqa: S608
        f"AND (epoch, {seq}) <= (?, ?) AND {where} ORDER BY epoch, {seq} LIMIT {PAGE_ROWS}"
    )
    return query, values
