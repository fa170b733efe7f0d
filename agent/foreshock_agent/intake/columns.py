"""Decoded readings of many messages, in columns: what adapters write and the pipeline reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_agent.judging.tracks import NO_TRACK
from foreshock_rules.readings import Rejected, problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_agent.judging.tracks import MachineTracks

    Int64 = npt.NDArray[np.int64]
    Float64 = npt.NDArray[np.float64]


REASONS: Final = (
    Rejected.NOT_A_NUMBER,
    Rejected.OUT_OF_RANGE,
    Rejected.BAD_TIME,
    Rejected.INVALID_ID,
)
"""Why a decoded reading is not stored; where several hold, the first one is told."""

OK: Final = -1


class Arrivals(NamedTuple):
    """Readings as they were decoded, nothing refused yet, in order of arrival.

    `track` int64[n] (NO_TRACK where the channel is no id), `time_ns` int64[n] clamped to int64,
    `value` float64[n], `message` int64[n]: which message of the batch it came in.
    """

    track: Int64
    time_ns: Int64
    value: Float64
    message: Int64

    def problems(self) -> npt.NDArray[np.int8]:
        """Return why each reading cannot be kept, an index into REASONS; OK where it can."""
        found = problems_of(self.time_ns, self.value)
        found[Rejected.INVALID_ID] = self.track == NO_TRACK
        problem = np.full(len(self.track), OK, np.int8)
        for index, reason in reversed(list(enumerate(REASONS))):
            problem[found[reason]] = index
        return problem


class Block(NamedTuple):
    """Readings in arrays: `track` int64[n], `time_ns` int64[n], `value` float64[n]."""

    track: Int64
    time_ns: Int64
    value: Float64


class Columns:
    """Collects the readings of many messages; plain lists, which Python fills fastest."""

    def __init__(self) -> None:
        self._track: list[int] = []
        self._time_ns: list[int] = []
        self._value: list[float] = []
        self._blocks: list[Block] = []
        self._in_blocks = self._shown = 0
        self._ends: list[int] = []

    def __len__(self) -> int:
        return self._in_blocks + len(self._track)

    def add(self, track: int, time_ns: int, value: float) -> None:
        """Take one reading."""
        self._track.append(track)
        self._time_ns.append(time_ns)
        self._value.append(value)

    def add_row(self, tracks: MachineTracks, time_ns: int, row: dict[str, float]) -> None:
        """Take one reading of each channel, all of one time."""
        self._track += [tracks[name] for name in row]
        self._time_ns += [time_ns] * len(row)
        self._value += row.values()

    def add_series(self, track: int, time_ns: Sequence[int], value: Sequence[float]) -> None:
        """Take readings of one track."""
        self._track += [track] * len(time_ns)
        self._time_ns += time_ns
        self._value += value

    def add_block(self, track: Int64, time_ns: Int64, value: Float64) -> None:
        """Take readings that are in arrays already."""
        self._close_lists()
        self._blocks.append(Block(track, time_ns, value))
        self._in_blocks += len(track)

    def fresh(self) -> list[Block]:
        """Return what was taken since the last call."""
        self._close_lists()
        before, self._shown = self._shown, len(self._blocks)
        return self._blocks[before:]

    def end_message(self) -> None:
        """What was taken since the last call came in one message."""
        self._ends.append(len(self))

    def arrivals(self) -> Arrivals:
        """Return all of it."""
        self._close_lists()
        ends = np.array([0, *self._ends], np.int64)
        counts = ends[1:] - ends[:-1]
        message = np.repeat(np.arange(len(counts)), counts)
        track, time_ns, value = (np.concatenate(part) for part in zip(*self._blocks, strict=True))
        return Arrivals(track, time_ns, value, message)

    def _close_lists(self) -> None:
        """Turn the lists into a block, so that the order stays that of arrival."""
        if not self._track and self._blocks:
            return
        self._blocks.append(
            Block(
                np.array(self._track, np.int64),
                np.array(self._time_ns, np.int64),
                np.array(self._value, np.float64),
            )
        )
        self._in_blocks += len(self._track)
        self._track, self._time_ns, self._value = [], [], []
