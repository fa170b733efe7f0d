"""Stored readings: one compressed chunk a commit, in the form in which they go up.

A chunk's body is a telemetry batch of the wire, so its CRC is checked whenever it is read and the
uplink can send it as it lies. Chunks are numbered in order of arrival, over all epochs. A delivered
chunk of which only some readings are still needed is `kept` with those alone; its seqs are void.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_agent.intake.recent import Run
from foreshock_agent.store.seals import CHUNKS
from foreshock_wire.batch import FLAG_FUTURE, Readings, decode
from foreshock_wire.errors import BatchError, ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from foreshock_agent.judging.tracks import Tracks
    from foreshock_agent.store.seals import Row, Values

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

LEVEL: Final = 1
"""zlib's fastest: level 6 takes three times as long for a tenth of the size."""

MOST_ROWS: Final = 10_000
"""Readings of one chunk: what the way up holds unpacked while a backlog drains."""

OPENED: Final = 32
"""Chunks that stay unpacked for the look-ups of old readings."""

_BEFORE_ALL: Final = 0


class ChunkDamagedError(ForeshockError):
    """The chunk `n` is not what was written."""

    def __init__(self, n: int, values: Values) -> None:
        super().__init__(f"chunk {n} (readings {values[2]} to {values[3]}) is damaged")
        self.n = n
        self.values = values


class Rows(NamedTuple):
    """Readings to store, in columns."""

    track: Int64
    time_ns: Int64
    received_ns: Int64
    value: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]

    def at(self, rows: Bool | slice) -> Rows:
        """Return some of them."""
        return Rows._make(column[rows] for column in self)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk and its number; of one that is `kept` the seqs of the readings are void."""

    n: int
    epoch_n: int
    last_seq: int
    kept: bool
    readings: Readings


def batch_of(rows: Rows, tracks: Tracks, epoch: str, first_seq: int) -> Readings:
    """Return rows as a batch of the wire, numbered from `first_seq`."""
    machines, machine = _own_table(tracks.machine[rows.track], tracks.machines)
    channels, channel = _own_table(tracks.channel[rows.track], tracks.channels)
    return Readings(
        epoch=epoch,
        first_seq=first_seq,
        machines=machines,
        channels=channels,
        machine=machine,
        channel=channel,
        time_ns=rows.time_ns,
        received_ns=rows.received_ns,
        value=rows.value,
        flags=rows.flags,
    )


def _own_table(numbers: Int64, names: list[str]) -> tuple[list[str], npt.NDArray[np.uint16]]:
    """Return the names that are used, and the numbers as indices into them."""
    used = np.flatnonzero(np.bincount(numbers))
    index = np.empty(int(used[-1]) + 1, np.uint16)
    index[used] = np.arange(len(used))
    return [names[number] for number in used.tolist()], index[numbers]


def rows_of(batch: Readings, tracks: Tracks) -> Rows:
    """Return a batch's readings by track; a track that is new is made."""
    return Rows(tracks.numbers(batch), batch.time_ns, batch.received_ns, batch.value, batch.flags)


def row_of(n: int, epoch_n: int, batch: Readings) -> Values:
    """Return a new chunk as its table holds it."""
    seqs = (batch.first_seq, batch.last_seq)
    return (n, epoch_n, *seqs, *_times(batch), 0, batch.to_bytes(LEVEL))


def add(db: sqlite3.Connection, n: int, epoch_n: int, batch: Readings) -> None:
    """Write a chunk in the open transaction."""
    CHUNKS.put(db, [row_of(n, epoch_n, batch)])


def keep_only(db: sqlite3.Connection, chunk: Found, needed: Bool) -> None:
    """Leave only some readings of a delivered chunk, or none of it."""
    if not needed.any():
        db.execute("DELETE FROM chunks WHERE n = ?", (chunk.n,))
        return
    rest = chunk.readings.where(needed)
    seqs = (chunk.readings.first_seq, chunk.last_seq)
    row = (chunk.n, chunk.epoch_n, *seqs, *_times(rest), 1, rest.to_bytes(LEVEL))
    CHUNKS.put(db, [row], "INSERT OR REPLACE")


def _times(batch: Readings) -> tuple[int, int, int]:
    """Return the oldest, the newest, and the newest time that was no future stamp."""
    settled = batch.time_ns[(batch.flags & FLAG_FUTURE) == 0]
    newest_settled = int(settled.max()) if len(settled) else _BEFORE_ALL
    return int(batch.time_ns.min()), int(batch.time_ns.max()), newest_settled


def find(
    db: sqlite3.Connection,
    rest: str,
    values: Values,
    damaged: Callable[[ChunkDamagedError], object] | None = None,
) -> Iterator[Found]:
    """Yield chunks by SQL of our own (conditions and order).

    Raises:
        ChunkDamagedError: one of them is not what was written, and there is no `damaged` to be
            told instead.
    """
    for row in CHUNKS.read(db, f"WHERE {rest}", values):
        try:
            yield _found(row)
        except ChunkDamagedError as fault:
            if damaged is None:
                raise
            damaged(fault)


def _found(row: Row) -> Found:
    _, epoch_n, _, last_seq, *_, kept, body = row.values
    try:
        if row.intact:
            return Found(row.rowid, epoch_n, last_seq, bool(kept), decode(body, Readings))
    except BatchError:
        pass
    raise ChunkDamagedError(row.rowid, row.values)


def stored_readings(db: sqlite3.Connection, after_n: int = 0) -> Iterator[Readings]:
    """Yield all readings that a database holds, in order of arrival, a chunk at a time."""
    for chunk in find(db, "n > ? ORDER BY n", (after_n,)):
        yield chunk.readings


def first_whole(db: sqlite3.Connection) -> int:
    """Return the number from which on no chunk is missing and none has lost readings; 1 is all."""
    last_hole = (
        "SELECT max(n - 1 + kept) FROM chunks AS c WHERE kept = 1 "
        "OR NOT EXISTS (SELECT 1 FROM chunks WHERE n = c.n - 1)"
    )
    return int(db.execute(last_hole).fetchone()[0] or 0) + 1


def first_pending(db: sqlite3.Connection) -> int | None:
    """Return the number of the first chunk that the lake does not hold whole."""
    epochs = db.execute(
        "SELECT cursors.epoch, acked_seq FROM cursors WHERE stream = ? "
        "AND acked_seq < next_seq - 1 ORDER BY cursors.epoch",
        (Stream.READINGS,),
    ).fetchall()
    query = "SELECT n FROM chunks WHERE epoch = ? AND last_seq > ? ORDER BY last_seq LIMIT 1"
    for epoch in epochs:
        if found := db.execute(query, epoch).fetchone():
            return int(found[0])
    return None


class OldReadings:
    """Looks single readings up in the chunks whose span of time can hold them."""

    def __init__(self, db: sqlite3.Connection, tracks: Tracks) -> None:
        self._db = db
        self._tracks = tracks
        self._opened: OrderedDict[int, Run] = OrderedDict()

    def holds(self, track: Int64, time_ns: Int64) -> Bool:
        """Say of each key whether it is stored."""
        known = np.zeros(len(track), np.bool_)
        spans = self._db.execute(
            "SELECT n, oldest_ns, newest_ns FROM chunks WHERE newest_ns >= ? AND oldest_ns <= ?",
            (int(time_ns.min()), int(time_ns.max())),
        ).fetchall()
        for n, oldest_ns, newest_ns in spans:
            asked = np.flatnonzero(~known & (time_ns >= oldest_ns) & (time_ns <= newest_ns))
            if len(asked):
                known[asked] = self._open(n).holds(track[asked], time_ns[asked])
        return known

    def _open(self, n: int) -> Run:
        run = self._opened.pop(n, None)
        if run is None:
            run = self._read(n)
        self._opened[n] = run
        if len(self._opened) > OPENED:
            self._opened.popitem(last=False)
        return run

    def _read(self, n: int) -> Run:
        """Return the keys of a chunk; a damaged one holds none that can be told."""
        for chunk in find(self._db, "n = ?", (n,), damaged=log.error):
            return Run.of(self._tracks.numbers(chunk.readings), chunk.readings.time_ns)
        none = np.empty(0, np.int64)
        return Run(none, none)
