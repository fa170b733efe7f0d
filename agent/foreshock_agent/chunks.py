"""Stored readings: one compressed chunk a commit, in the form in which they go up.

A chunk's body is a telemetry batch of the wire, so its CRC is checked whenever it is read and the
uplink can send it as it lies. Chunks are numbered in order of arrival, over all epochs. A delivered
chunk of which only some readings are still needed is `kept` with those alone; its seqs are void.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from foreshock_agent.recent import Run
from foreshock_wire.batch import FLAG_FUTURE, Readings, decode
from foreshock_wire.errors import BatchError, ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from foreshock_agent.tracks import Tracks

    Bool = npt.NDArray[np.bool_]
    Int64 = npt.NDArray[np.int64]

LEVEL: Final = 1
"""zlib's fastest: level 6 takes three times as long for a tenth of the size."""

OPENED: Final = 32
"""Chunks that stay unpacked for the look-ups of old readings."""

_BEFORE_ALL: Final = 0


class ChunkDamagedError(ForeshockError):
    """A chunk that is not what was written."""


class Rows(NamedTuple):
    """Readings to store, in columns."""

    track: Int64
    time_ns: Int64
    received_ns: Int64
    value: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]

    def at(self, rows: Bool) -> Rows:
        """Return some of them."""
        return Rows._make(column[rows] for column in self)


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk and its number."""

    n: int
    epoch_n: int
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


def add(db: sqlite3.Connection, n: int, epoch_n: int, batch: Readings) -> None:
    """Write a chunk in the open transaction."""
    db.execute(
        "INSERT INTO chunks (n, epoch, first_seq, last_seq, oldest_ns, newest_ns, settled_ns, "
        "kept, body) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
        (n, epoch_n, batch.first_seq, batch.last_seq, *_times(batch), batch.to_bytes(LEVEL)),
    )


def keep_only(db: sqlite3.Connection, chunk: Found, needed: Bool) -> None:
    """Leave only some readings of a delivered chunk, or none of it."""
    if not needed.any():
        db.execute("DELETE FROM chunks WHERE n = ?", (chunk.n,))
        return
    rest = chunk.readings.where(needed)
    db.execute(
        "UPDATE chunks SET oldest_ns = ?, newest_ns = ?, settled_ns = ?, kept = 1, body = ? "
        "WHERE n = ?",
        (*_times(rest), rest.to_bytes(LEVEL), chunk.n),
    )


def _times(batch: Readings) -> tuple[int, int, int]:
    """Return the oldest, the newest, and the newest time that was no future stamp."""
    settled = batch.time_ns[(batch.flags & FLAG_FUTURE) == 0]
    newest_settled = int(settled.max()) if len(settled) else _BEFORE_ALL
    return int(batch.time_ns.min()), int(batch.time_ns.max()), newest_settled


def find(
    db: sqlite3.Connection,
    where: str,
    values: tuple[Any, ...],
    damaged: Callable[[ChunkDamagedError], object] | None = None,
) -> Iterator[Found]:
    """Yield chunks by an SQL condition (one of our own), in its order.

    Raises:
        ChunkDamagedError: one of them is not what was written, and there is no `damaged` to be
            told instead.
    """
    query = f"SELECT n, epoch, first_seq, last_seq, body FROM chunks WHERE {where}"  # noqa: S608
    for n, epoch_n, first_seq, last_seq, body in db.execute(query, values):
        try:
            yield Found(n, epoch_n, decode(body, Readings))
        except BatchError as error:
            fault = ChunkDamagedError(
                f"readings {first_seq} to {last_seq} of epoch {epoch_n} (chunk {n}): {error}; "
                "they are not sent: stop the agent, move its database aside and start anew"
            )
            if damaged is None:
                raise fault from None
            damaged(fault)


def stored_readings(db: sqlite3.Connection, after_n: int = 0) -> Iterator[Readings]:
    """Yield all readings that a database holds, in order of arrival, a chunk at a time."""
    for chunk in find(db, "n > ? ORDER BY n", (after_n,)):
        yield chunk.readings


def first_pending(db: sqlite3.Connection) -> int | None:
    """Return the number of the first chunk that the lake does not hold whole."""
    epochs = db.execute(
        "SELECT epoch, acked_seq FROM cursors WHERE stream = ? AND acked_seq < next_seq - 1 "
        "ORDER BY epoch LIMIT 1",
        (Stream.READINGS,),
    ).fetchone()
    if epochs is None:
        return None
    found = db.execute(
        "SELECT n FROM chunks WHERE epoch = ? AND last_seq > ? ORDER BY last_seq LIMIT 1", epochs
    ).fetchone()
    return None if found is None else int(found[0])


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
            (chunk,) = find(self._db, "n = ?", (n,))
            run = Run.of(self._tracks.numbers(chunk.readings), chunk.readings.time_ns)
        self._opened[n] = run
        if len(self._opened) > OPENED:
            self._opened.popitem(last=False)
        return run
