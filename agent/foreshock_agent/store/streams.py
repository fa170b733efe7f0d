"""The stored records of a stream in strict order of seq, and where they cannot be trusted."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from foreshock_agent.store import gaps
from foreshock_agent.store.seals import CHUNKS, RECORDS, SCORES
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Iterator

    from foreshock_agent.store.seals import Sealed, Values


class Piece(NamedTuple):
    """A stored row of a stream: a chunk of readings, or one score, alarm or event."""

    rowid: int
    first_seq: int
    last_seq: int
    intact: bool
    values: Values


class Unreadable(NamedTuple):
    """What cannot be sent: the rows that are not what was written, and up to which seq."""

    rows: list[Piece]
    last_seq: int


def table_of(stream: Stream) -> Sealed:
    """Return where the records of a stream lie."""
    if stream is Stream.READINGS:
        return CHUNKS
    return SCORES if stream is Stream.SCORES else RECORDS


def key_of(table: Sealed, values: Values) -> tuple[Stream, int, int]:
    """Return the stream, the epoch's number and the last seq of a stored row."""
    if table is CHUNKS:
        return Stream.READINGS, values[1], values[3]
    if table is SCORES:
        return Stream.SCORES, values[0], values[1]
    return Stream(values[0]), values[1], values[2]


def pieces(
    db: sqlite3.Connection, stream: Stream, epoch_n: int, mark: int
) -> Generator[Piece, None, None]:
    """Yield what is stored of an epoch's stream after a mark."""
    if stream is Stream.READINGS:
        rest = "WHERE epoch = ? AND last_seq > ? ORDER BY last_seq"
        for row in CHUNKS.read(db, rest, (epoch_n, mark)):
            yield Piece(row.rowid, row.values[2], row.values[3], row.intact, row.values)
        return
    of_stream, key = ("stream = ? AND ", (stream,)) if stream is not Stream.SCORES else ("", ())
    rest = f"WHERE {of_stream}epoch = ? AND seq > ? ORDER BY seq"
    table = table_of(stream)
    at = table.columns.index("seq")
    for row in table.read(db, rest, (*key, epoch_n, mark)):
        yield Piece(row.rowid, row.values[at], row.values[at], row.intact, row.values)


def numbered(
    db: sqlite3.Connection, stream: Stream, epoch_n: int, mark: int
) -> Generator[Piece, None, None]:
    """Yield the intact chunks after a mark that still hold all of their seqs.

    Only readings stay for a while after they were delivered; of other streams nothing does.
    """
    if stream is not Stream.READINGS:
        return
    kept = CHUNKS.columns.index("kept")
    with closing(pieces(db, stream, epoch_n, mark)) as found:
        yield from (piece for piece in found if piece.intact and not piece.values[kept])


def delete(
    db: sqlite3.Connection, stream: Stream, epoch_n: int, first_seq: int, last_seq: int
) -> None:
    """Delete the rows of a range of seqs; of chunks those that lie in it whole."""
    table = table_of(stream)
    key = (stream,) if "stream" in table.columns else ()
    where = ["epoch = ?", "seq >= ?", "seq <= ?"]
    if stream is Stream.READINGS:
        where = ["epoch = ?", "first_seq >= ?", "last_seq <= ?"]
    where += ["stream = ?"] * len(key)
    query = f"DELETE FROM {table.name} WHERE {' AND '.join(where)}"  # noqa: S608 - constants
    db.execute(query, (epoch_n, first_seq, last_seq, *key))


def whole(found: Iterator[Piece], mark: int, end: int) -> Iterator[Piece]:
    """Yield pieces after `mark` as long as each is intact and follows the one before, up to `end`.

    The first and the last may reach beyond these.
    """
    for piece in found:
        if not piece.intact or piece.first_seq > mark + 1:
            return
        yield piece
        mark = piece.last_seq
        if mark >= end:
            return


def unreadable(
    db: sqlite3.Connection, stream: Stream, epoch_n: int, mark: int, end: int
) -> Unreadable:
    """Return what stands between `mark` and the next record that can be sent, `end` at most.

    Its `last_seq` is `mark` (or less) when there is nothing in between.
    """
    if tombstone := gaps.after(db, stream, epoch_n, mark):
        end = min(end, tombstone.first_seq - 1)
    bad: list[Piece] = []
    for piece in pieces(db, stream, epoch_n, mark):
        if piece.intact:
            return Unreadable(bad, min(piece.first_seq - 1, end))
        bad.append(piece)
    return Unreadable(bad, end)
