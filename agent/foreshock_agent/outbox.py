"""What waits to go up, read from the agent's SQLite file in the uplink's own connection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_agent import chunks
from foreshock_agent.store import connect
from foreshock_wire.batch import Readings, Scores, joined
from foreshock_wire.messages import RecordBatch, UpRecord
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Parcel:
    """One upload: consecutive records of one epoch's stream, encoded."""

    stream: Stream
    epoch: str
    first_seq: int
    last_seq: int
    payload: bytes


class Outbox:
    """Reads committed rows only; the oldest epoch first, in strict order of seq."""

    def __init__(self, database: Path) -> None:
        self._db = connect(database, read_only=True)
        self._open: chunks.Found | None = None

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def pending(self) -> dict[Stream, int]:
        """Return how many records of each stream the lake has not acknowledged."""
        return pending_records(self._db)

    def next_parcel(self, stream: Stream, after: dict[str, int], limit: int) -> Parcel | None:
        """Return the next records of a stream, or None when the lake holds all.

        `after` gives, by epoch, the seq up to which the uplink knows the lake's answer; the stored
        cursor counts where it is higher.
        """
        rows = self._db.execute(
            "SELECT n, epochs.epoch, acked_seq, next_seq FROM cursors "
            "JOIN epochs ON n = cursors.epoch WHERE stream = ? AND acked_seq < next_seq - 1 "
            "ORDER BY n",
            (stream,),
        ).fetchall()
        for number, epoch, acked, following in rows:
            mark = max(acked, after.get(epoch, 0))
            if mark < following - 1:
                return self._read(stream, number, epoch, mark, limit)
        return None

    def _read(
        self, stream: Stream, number: int, epoch: str, mark: int, limit: int
    ) -> Parcel | None:
        if stream is Stream.READINGS:
            return self._readings(number, mark, limit)
        reader = _READERS[stream]
        rows = self._db.execute(reader.query, (number, mark, limit)).fetchall()
        if not rows:
            return None
        return Parcel(stream, epoch, rows[0][0], rows[-1][0], reader.encode(epoch, rows))

    def _readings(self, number: int, mark: int, limit: int) -> Parcel | None:
        """Return readings after a mark: chunks, joined where they are small, cut where large."""
        parts: list[Readings] = []
        for batch in self._after(number, mark):
            parts.append(batch.after(mark))
            if sum(map(len, parts)) >= limit:
                break
        if not parts:
            return None
        batch = joined(parts).head(limit) if len(parts) > 1 else parts[0].head(limit)
        return Parcel(
            Stream.READINGS, batch.epoch, batch.first_seq, batch.last_seq, batch.to_bytes()
        )

    def _after(self, number: int, mark: int) -> Iterator[Readings]:
        """Yield the chunks of an epoch after a mark; the last one stays open for the next call."""
        if (
            self._open
            and self._open.epoch_n == number
            and self._open.readings.last_seq > mark >= (self._open.readings.first_seq)
        ):
            yield self._open.readings
            mark = self._open.readings.last_seq
        where = "epoch = ? AND last_seq > ? ORDER BY last_seq"
        for chunk in chunks.find(self._db, where, (number, mark)):
            self._open = chunk
            yield chunk.readings


def pending_records(db: sqlite3.Connection) -> dict[Stream, int]:
    """Return how many records of each stream the lake has not acknowledged."""
    rows = db.execute("SELECT stream, sum(next_seq - 1 - acked_seq) FROM cursors GROUP BY stream")
    counts = {Stream(stream): int(count) for stream, count in rows}
    return {stream: counts.get(stream, 0) for stream in Stream}


@dataclass(frozen=True, slots=True)
class _Reader:
    """How the rows of a stream are found (after a seq, in its order) and encoded."""

    query: str
    encode: Callable[[str, list[tuple[Any, ...]]], bytes]


def _scores(epoch: str, rows: list[tuple[Any, ...]]) -> bytes:
    seq, machine, model, time_ns, scored_ns, probability, novelty = zip(*rows, strict=True)
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


def _records(epoch: str, rows: list[tuple[Any, ...]]) -> bytes:
    records = tuple(UpRecord(seq=seq, body=json.loads(body)) for seq, body in rows)
    return RecordBatch(epoch=epoch, records=records).to_bytes()


def _after(columns: str, table: str) -> str:
    return f"SELECT {columns} FROM {table} AND epoch = ? AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - constants


_READERS: Final = {
    Stream.ALARMS: _Reader(_after("seq, body", "records WHERE stream = 'alarms'"), _records),
    Stream.EVENTS: _Reader(_after("seq, body", "records WHERE stream = 'events'"), _records),
    Stream.SCORES: _Reader(
        _after(
            "seq, machine, model, time_ns, scored_ns, probability, novelty", "scores WHERE true"
        ),
        _scores,
    ),
}


def _table(names: Sequence[str]) -> tuple[list[str], np.ndarray[Any, np.dtype[np.uint16]]]:
    table = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return list(table), np.array([table[name] for name in names], np.uint16)
