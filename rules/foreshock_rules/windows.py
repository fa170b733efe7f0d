"""Readings of one machine, in arrival order, become windows on a fixed grid of event time.

Time is cut into slots of one sampling period; a cell is one channel in one slot, and the reading
that arrived last in it wins. Windows of `length` slots end where the slot count is a multiple of
`stride`, for every machine and after every restart alike. A window is due as soon as the watermark
has passed its end. A late reading (one for a slot that a due window has covered) never changes a
window that was due before it arrived; it does stand in the later ones that hold its slot.

`Windower` is the plain incremental form, `windows_of` the bulk form (the trainer's), and `rings`
the form for many machines (the agent's): property tests hold all three equal, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foreshock_rules.watermark import Watermark

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_wire.spec import ModelSpec

    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How windows are cut: the part of a model's spec that this module needs.

    `period_ns` one slot; `length` and `stride` in slots; `min_fill` the share of cells (0 to 1]
    below which a window is not scored; `lateness_ns` how long a window waits for stragglers.
    """

    channels: tuple[str, ...]
    period_ns: int
    length: int
    stride: int
    min_fill: float = 0.5
    lateness_ns: int = 0

    @classmethod
    def of_model(cls, spec: ModelSpec, lateness_ns: int) -> WindowSpec:
        """Return how windows are cut for a model, on a gateway with this lateness."""
        return cls(
            spec.channel_ids, spec.period_ns, spec.length, spec.stride, spec.min_fill, lateness_ns
        )

    @property
    def stride_ns(self) -> int:
        """Time between two window ends."""
        return self.period_ns * self.stride

    @property
    def min_cells(self) -> float:
        """Number of cells that a window must hold to be scored."""
        return self.min_fill * self.length * len(self.channels)

    @property
    def history_ns(self) -> int:
        """How far behind the newest reading a restart must read back to rebuild the windows."""
        return (self.length + self.stride) * self.period_ns + self.lateness_ns

    def last_end(self, watermark_ns: int) -> int:
        """Return the last slot of the newest window that is due at a watermark."""
        return watermark_ns // self.stride_ns * self.stride - 1


class Window(NamedTuple):
    """A due window: `end_ns` (exclusive) and `values` float32[T, C], NaN where nothing came."""

    end_ns: int
    values: Float32


def ring_rows(spec: WindowSpec) -> int:
    """Return how many slots a machine's ring must hold: all that a window yet to come can need."""
    waiting = -(-spec.lateness_ns // spec.period_ns)
    return spec.length + spec.stride + waiting + 2


class Windower:
    """One machine's windows, made as its readings come."""

    __slots__ = ("_last_end", "_newest", "_ring", "_watermark", "spec")

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._ring = np.full((ring_rows(spec), len(spec.channels)), np.nan, dtype=np.float32)
        self._watermark = Watermark(spec.lateness_ns)
        self._newest = -1
        self._last_end: int | None = None

    @property
    def watermark_ns(self) -> int | None:
        """The machine's event time."""
        return self._watermark.time_ns

    def is_late(self, time_ns: int) -> bool:
        """Say whether a reading of this time belongs to a window that was due before."""
        return self._last_end is not None and time_ns // self.spec.period_ns <= self._last_end

    def add(self, channel: int, time_ns: int, value: float) -> tuple[bool, list[Window]]:
        """Take one reading; return whether it was late, and the windows that became due.

        `channel` indexes the spec's channels. The reading itself is never in the windows that it
        makes due: it lies beyond their end.
        """
        due: list[Window] = []
        slot = time_ns // self.spec.period_ns
        if self._watermark.advance(time_ns):
            due = self._advance(slot)
        late = self.is_late(time_ns)
        if slot > self._newest - len(self._ring):
            self._ring[slot % len(self._ring), channel] = value
        return late, due

    def _advance(self, slot: int) -> list[Window]:
        spec, watermark_ns = self.spec, self._watermark.time_ns or 0
        end = spec.last_end(watermark_ns)
        due = [] if self._last_end is None else list(self._due(self._last_end, end))
        self._last_end = end
        self._clear_to(slot)
        return due

    def _due(self, last_end: int, end: int) -> list[Window]:
        spec, due = self.spec, []
        newest_with_data = self._newest
        for stop in range(last_end + spec.stride, end + 1, spec.stride):
            if stop >= newest_with_data + spec.length:
                break
            self._clear_to(stop)
            rows = np.arange(stop - spec.length + 1, stop + 1) % len(self._ring)
            values = self._ring[rows]
            if np.count_nonzero(~np.isnan(values)) >= spec.min_cells:
                due.append(Window((stop + 1) * spec.period_ns, values))
        return due

    def _clear_to(self, slot: int) -> None:
        fresh = min(slot - self._newest, len(self._ring))
        if fresh > 0:
            self._ring[np.arange(slot - fresh + 1, slot + 1) % len(self._ring)] = np.nan
            self._newest = slot


def windows_of(
    spec: WindowSpec, channel: Int64, time_ns: Int64, value: Float32
) -> tuple[Int64, Float32]:
    """Return all windows of one machine's readings, given in arrival order.

    Args:
        spec: how windows are cut.
        channel: int[n], indices into the spec's channels.
        time_ns: int64[n], source times.
        value: float32[n].

    Returns:
        Ends int64[k] (exclusive, ns) and windows float32[k, T, C]: what a `Windower` would have
        given for the same readings, one by one.
    """
    none = np.empty(0, np.int64), np.empty((0, spec.length, len(spec.channels)), np.float32)
    if not len(time_ns):
        return none
    slot = time_ns // spec.period_ns
    watermark = np.maximum.accumulate(time_ns) - spec.lateness_ns
    covered = watermark // spec.stride_ns * spec.stride - 1
    ends = np.arange(covered[0] + spec.stride, covered[-1] + 1, spec.stride)
    late = slot <= covered
    first = ends[0] - spec.length + 1 if len(ends) else 0
    if not len(ends):
        return none
    grid = _grid(spec, first, int(ends[-1]), slot[~late], channel[~late], value[~late])
    windows = np.lib.stride_tricks.sliding_window_view(grid, spec.length, axis=0)
    windows = windows[:: spec.stride].transpose(0, 2, 1).copy()
    _patch(spec, windows, ends, covered[late], slot[late], channel[late], value[late])
    filled = np.count_nonzero(~np.isnan(windows), axis=(1, 2)) >= spec.min_cells
    return (ends[filled] + 1) * spec.period_ns, windows[filled]


def _grid(  # noqa: PLR0917 - columns of one table
    spec: WindowSpec, first: int, last: int, slot: Int64, channel: Int64, value: Float32
) -> Float32:
    grid = np.full((last - first + 1, len(spec.channels)), np.nan, dtype=np.float32)
    inside = (slot >= first) & (slot <= last)
    grid[slot[inside] - first, channel[inside]] = value[inside]
    return grid


def _patch(  # noqa: PLR0917 - columns of one table
    spec: WindowSpec,
    windows: Float32,
    ends: Int64,
    covered: Int64,
    slot: Int64,
    channel: Int64,
    value: Float32,
) -> None:
    """Write late readings into the windows that became due after they arrived."""
    for done, s, c, v in zip(covered, slot, channel, value, strict=True):
        begin, stop = np.searchsorted(ends, [done + 1, s + spec.length])
        hit = np.arange(begin, stop)
        windows[hit, s - (ends[hit] - spec.length + 1), c] = v
