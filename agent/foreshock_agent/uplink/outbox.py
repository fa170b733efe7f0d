"""What waits to go up, read from the agent's SQLite file in the uplink's own connection."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from foreshock_agent.damage.errors import (
    SQLITE_ERRORS,
    StoreDamagedError,
    UnreadableError,
    corruption_told,
)
from foreshock_agent.settings import RECORD_BYTES
from foreshock_agent.store import gaps
from foreshock_agent.store.database import connect
from foreshock_agent.store.seals import CURSORS, EPOCHS
from foreshock_agent.store.streams import numbered, pieces, whole
from foreshock_agent.store.worth import REACH_UPLOADS
from foreshock_wire.batch import Readings, Scores, decode, joined
from foreshock_wire.messages import Gap, RecordBatch, UpRecord
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from foreshock_agent.store.streams import Piece


CACHE_KIB: Final = 256
"""Rows are gone through once, in their order: an eighth of SQLite's own cache is as fast."""

LOST_BY_LAKE: Final = "lost_by_lake"
"""Reason of a tombstone for what the lake had acknowledged, and does not hold any more."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One upload: consecutive records of one epoch's stream, encoded."""

    stream: Stream
    epoch: str
    first_seq: int
    last_seq: int
    payload: bytes


class Outbox:
    """Reads committed rows only; the oldest epoch first, in strict order of seq.

    What is not what was written, or is not there, is never passed on and never passed over.

    Raises:
        StoreDamagedError: the database is.
    """

    def __init__(self, database: Path) -> None:
        self._db = connect(database, read_only=True)
        with corruption_told(SQLITE_ERRORS):  # it reads the schema
            self._db.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        self._open: Readings | None = None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def pending(self) -> dict[Stream, int]:
        """Return how many records of each stream the lake has not acknowledged."""
        return pending_records(self._db)

    def next_parcel(
        self,
        stream: Stream,
        after: Mapping[str, int],
        limit: int,
        again: Collection[str] = (),
    ) -> Parcel | None:
        """Return the next records of a stream, or None when the lake holds all.

        `after` gives, by epoch, the seq up to which the uplink knows the lake's answer; the stored
        cursor counts where it is higher, but not for epochs that are sent `again`: of these the
        lake has lost what it had acknowledged. Nothing goes up that lies beyond the
        reach of the stored cursors, where the store may drop (`worth.reach_of`): None as well.

        Raises:
            UnreadableError: what comes next is damaged or gone.
            StoreDamagedError: the database is.
        """
        with corruption_told(), snapshot(self._db):
            reach = REACH_UPLOADS * limit
            for waiting in _waiting(self._db, stream):
                mark = after.get(waiting.epoch, 0)
                if waiting.epoch in again and mark < waiting.acked:
                    return self._once_more(waiting, mark, limit)
                mark = max(waiting.acked, mark)
                if mark < waiting.last_seq:
                    room = waiting.acked + reach - mark
                    return self._after(waiting, mark, min(limit, room)) if room > 0 else None
                reach -= waiting.last_seq - waiting.acked
        return None

    def look(self, stream: Stream, after: Mapping[str, int], limit: int) -> tuple[str, int] | None:
        """Check what `next_parcel` would read, and return (epoch, seq) up to which that is.

        Raises:
            UnreadableError: what comes next is damaged or gone.
            StoreDamagedError: the database is.
        """
        with corruption_told(), snapshot(self._db):
            for waiting in _waiting(self._db, stream):
                mark = max(waiting.acked, after.get(waiting.epoch, 0))
                if mark < waiting.last_seq:
                    return waiting.epoch, self._look(waiting, mark, limit)
        return None

    def _look(self, waiting: Waiting, mark: int, limit: int) -> int:
        tombstone = gaps.after(self._db, waiting.stream, waiting.epoch_n, mark)
        if tombstone is not None and tombstone.first_seq <= mark + 1:
            return min(tombstone.last_seq, waiting.last_seq)
        end = waiting.last_seq if tombstone is None else tombstone.first_seq - 1
        return min(self._rows(waiting, mark, end, limit)[-1].last_seq, end)

    def _rows(self, waiting: Waiting, mark: int, end: int, limit: int) -> list[Piece]:
        with closing(pieces(self._db, waiting.stream, waiting.epoch_n, mark)) as found:
            rows = list(_of_one_upload(whole(found, mark, end), limit))
        if not rows:
            raise UnreadableError(waiting.stream, waiting.epoch_n, mark)
        return rows

    def _after(self, waiting: Waiting, mark: int, limit: int) -> Parcel:
        stream, epoch, end = waiting.stream, waiting.epoch, waiting.last_seq
        tombstone = gaps.after(self._db, stream, waiting.epoch_n, mark)
        if tombstone is not None:
            if tombstone.first_seq <= mark + 1:
                last_seq = min(tombstone.last_seq, end)
                gap = Gap(
                    epoch=epoch, first_seq=mark + 1, last_seq=last_seq, reason=tombstone.reason
                )
                return Parcel(stream, epoch, mark + 1, last_seq, gap.to_bytes())
            end = tombstone.first_seq - 1
        if stream is Stream.READINGS:
            return self._readings(waiting, mark, end, limit)
        rows = self._rows(waiting, mark, end, limit)
        payload = _ENCODE[stream](epoch, rows)
        return Parcel(stream, epoch, rows[0].first_seq, rows[-1].last_seq, payload)

    def _once_more(self, waiting: Waiting, mark: int, limit: int) -> Parcel:
        """Return delivered records after a mark that are here still, or a tombstone up to these."""
        stream, epoch, end = waiting.stream, waiting.epoch, waiting.acked
        with closing(numbered(self._db, stream, waiting.epoch_n, mark)) as found:
            held = next(found, None)
        if held is not None and held.first_seq <= mark + 1:
            batch = decode(held.values[-1], Readings).after(mark).up_to(end).head(limit)
            return Parcel(stream, epoch, batch.first_seq, batch.last_seq, batch.to_bytes())
        last_seq = end if held is None else min(end, held.first_seq - 1)
        gap = Gap(epoch=epoch, first_seq=mark + 1, last_seq=last_seq, reason=LOST_BY_LAKE)
        return Parcel(stream, epoch, mark + 1, last_seq, gap.to_bytes())

    def _readings(self, waiting: Waiting, mark: int, end: int, limit: int) -> Parcel:
        """Return readings after a mark: chunks, joined where they are small, cut where large."""
        parts: list[Readings] = []
        with closing(self._batches(waiting, mark, end)) as batches:
            for batch in batches:
                parts.append(batch.after(mark).up_to(end))
                if sum(map(len, parts)) >= limit:
                    break
        if not parts:
            raise UnreadableError(Stream.READINGS, waiting.epoch_n, mark)
        batch = joined(parts).head(limit) if len(parts) > 1 else parts[0].head(limit)
        return Parcel(
            Stream.READINGS, batch.epoch, batch.first_seq, batch.last_seq, batch.to_bytes()
        )

    def _batches(self, waiting: Waiting, mark: int, end: int) -> Generator[Readings, None, None]:
        """Yield the chunks of an epoch after a mark; the last one stays open for the next call."""
        last = self._open
        if last and last.epoch == waiting.epoch and last.last_seq > mark >= last.first_seq:
            yield last
            mark = last.last_seq
            if mark >= end:
                return
        with closing(pieces(self._db, Stream.READINGS, waiting.epoch_n, mark)) as found:
            for piece in whole(found, mark, end):
                self._open = decode(piece.values[-1], Readings)
                yield self._open


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Let several statements see one commit of a running agent; each must be read or closed."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.rollback()


class Waiting(NamedTuple):
    """The part of an epoch's stream that the lake does not hold: above `acked`, to `last_seq`."""

    stream: Stream
    epoch_n: int
    epoch: str
    acked: int
    last_seq: int


def _waiting(db: sqlite3.Connection, stream: Stream) -> Iterator[Waiting]:
    """Yield what waits, oldest first; epochs that are still being salvaged wait for that.

    Raises:
        StoreDamagedError: a cursor or an epoch is not what was written.
    """
    rest = "WHERE stream = ? AND acked_seq < next_seq - 1 ORDER BY epoch"
    for row in CURSORS.read(db, rest, (stream,)):
        n, _, following, acked = row.values
        for epoch in EPOCHS.read(db, "WHERE n = ?", (n,)):
            if not (row.intact and epoch.intact):
                raise StoreDamagedError("the database is damaged: a cursor is not what was written")
            _, name, _, salvage = epoch.values
            if salvage is None:
                yield Waiting(stream, n, name, acked, following - 1)


def pending_records(db: sqlite3.Connection) -> dict[Stream, int]:
    """Return how many records of each stream wait for the lake; what was dropped does not."""
    rows = db.execute("SELECT stream, sum(next_seq - 1 - acked_seq) FROM cursors GROUP BY stream")
    counts, dropped = dict(rows.fetchall()), gaps.pending(db)
    return {stream: int(counts.get(stream, 0)) - dropped.get(stream, 0) for stream in Stream}


def _of_one_upload(found: Iterator[Piece], limit: int) -> Iterator[Piece]:
    """Yield the next `limit` rows; of alarms and events what goes into as many bytes, one at least.

    They are larger than `RECORD_BYTES`: what waited for weeks would never fit into a day at once.
    """
    left = limit * RECORD_BYTES
    for nth, piece in enumerate(islice(found, limit)):
        body = piece.values[-1]
        left -= len(body.encode()) + RECORD_BYTES if isinstance(body, str) else 0
        if nth and left < 0:
            return
        yield piece


def _scores(epoch: str, rows: list[Piece]) -> bytes:
    columns = zip(*(row.values for row in rows), strict=True)
    _, seq, machine, time_ns, scored_ns, model, _, probability, novelty = columns
    machines, machine_index = _table(machine)
    models, model_index = _table(model)
    return Scores(
        epoch=epoch,
        first_seq=seq[0],
        machines=machines,
        models=models,
        machine=machine_index,
        model=model_index,
        time_ns=np.array(time_ns, np.int64),
        scored_ns=np.array(scored_ns, np.int64),
        probability=np.array(probability, np.float32),
        novelty=np.array(novelty, np.float32),
    ).to_bytes()


def _records(epoch: str, rows: list[Piece]) -> bytes:
    records = tuple(UpRecord(seq=row.first_seq, body=json.loads(row.values[-1])) for row in rows)
    return RecordBatch(epoch=epoch, records=records).to_bytes()


_ENCODE: Final = {Stream.ALARMS: _records, Stream.EVENTS: _records, Stream.SCORES: _scores}


def _table(names: Sequence[str]) -> tuple[list[str], np.ndarray[Any, np.dtype[np.uint16]]]:
    table = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return list(table), np.array([table[name] for name in names], np.uint16)
