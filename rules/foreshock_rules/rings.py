"""The windows of many machines at once: what one `Windower` each would do, a batch at a time.

All rings lie in one array, and a machine's whole state is its ring and the time of its newest
reading. A batch is worked through in rounds: between two windows that become due, all readings of
all machines are written at once. `windows.Windower` says what is right; property tests hold the two
equal, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_rules.windows import ring_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_rules.windows import WindowSpec

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

NEVER: Final = -(1 << 62)
"""The newest time of a machine that has sent nothing yet: before every stamp."""

NO_CHANNEL: Final = -1
"""Stands for a channel that no window holds."""


class DueWindows(NamedTuple):
    """Windows that became due, in the order of the readings that made them so.

    `machine` int64[k]; `end_ns` int64[k], exclusive; `trigger` int64[k], which reading of the batch
    it was; `values` float32[k, T, C], NaN where nothing came.
    """

    machine: Int64
    end_ns: Int64
    trigger: Int64
    values: Float32

    def at(self, rows: Int64 | Bool) -> DueWindows:
        """Return some of them."""
        return DueWindows._make(column[rows] for column in self)


class _Steps(NamedTuple):
    """A batch sorted by machine, with each machine's newest time before and after each reading."""

    machine: Int64
    channel: Int64
    slot: Int64
    value: Float32
    before_ns: Int64
    after_ns: Int64

    def at(self, rows: Int64 | Bool) -> _Steps:
        return _Steps._make(column[rows] for column in self)


class Rings:
    """The windows of machines 0, 1, 2…; `add` takes readings of any of them in arrival order."""

    def __init__(self, spec: WindowSpec, machines: int = 0) -> None:
        self.spec = spec
        self._rows = ring_rows(spec)
        self._newest_ns = np.empty(0, np.int64)
        self._cells = np.empty((0, self._rows, len(spec.channels)), np.float32)
        self.grow(machines)

    def grow(self, machines: int) -> None:
        """Make room for machines 0 to `machines` - 1."""
        have = len(self._newest_ns)
        if machines <= have:
            return
        more = max(machines, 2 * have) - have
        fresh = np.full((more, *self._cells.shape[1:]), np.nan, np.float32)
        self._cells = np.concatenate([self._cells, fresh])
        self._newest_ns = np.concatenate([self._newest_ns, np.full(more, NEVER, np.int64)])

    @property
    def newest_ns(self) -> Int64:
        """Time of each machine's newest reading, NEVER where there is none; a view."""
        return self._newest_ns

    def may_be_due(self, machine: Int64, time_ns: Int64) -> Bool:
        """Say which readings would, as the next one of their machine, reach the end of a window."""
        due: Bool = self._covered(time_ns) > self._covered(self._newest_ns[machine])
        return due

    @property
    def size_bytes(self) -> int:
        """Memory that the rings take."""
        return self._cells.nbytes

    def saved(self, machine: int) -> bytes:
        """Return a machine's ring; with its newest time it is all that `restore` needs."""
        ring: bytes = self._cells[machine].tobytes()
        return ring

    def clear(self, machines: Int64) -> None:
        """Let machines begin anew, as if they had sent nothing yet."""
        self._newest_ns[machines], self._cells[machines] = NEVER, np.nan

    def restore(self, machine: int, newest_ns: int, ring: bytes) -> None:
        """Set a machine to what `saved` gave.

        Raises:
            ValueError: the ring is one of another spec.
        """
        cells = np.frombuffer(ring, np.float32).reshape(self._cells.shape[1:])
        self.grow(machine + 1)
        self._newest_ns[machine], self._cells[machine] = newest_ns, cells

    def add(
        self, machine: Int64, channel: Int64, time_ns: Int64, value: Float32
    ) -> tuple[Bool, DueWindows]:
        """Take readings; return which of them were late, and the windows that became due.

        Args:
            machine: int64[n], numbers below what `grow` made room for.
            channel: int64[n], indices into the spec's channels; NO_CHANNEL moves nothing, and is
                only told whether it is late.
            time_ns: int64[n], source times, in arrival order for each machine.
            value: float32[n].
        """
        order = np.argsort(machine, kind="stable")
        steps = self._steps(machine[order], channel[order], time_ns[order], value[order])
        covered = self._covered(steps.after_ns)
        late = np.empty(len(order), np.bool_)
        late[order] = steps.slot <= covered
        due = self._run(steps, self._covered(steps.before_ns), covered)
        by_arrival = np.argsort(order[due.trigger], kind="stable")
        sorted_due = due.at(by_arrival)
        return late, sorted_due._replace(trigger=order[sorted_due.trigger])

    def _steps(self, machine: Int64, channel: Int64, time_ns: Int64, value: Float32) -> _Steps:
        moving = np.where(channel == NO_CHANNEL, NEVER, time_ns)
        begins = np.flatnonzero(np.diff(machine, prepend=-1))
        known = self._newest_ns[machine]
        after = np.maximum(_running_maximum(moving, begins), known)
        before = np.empty_like(after)
        before[1:] = after[:-1]
        before[begins] = known[begins]
        return _Steps(machine, channel, time_ns // self.spec.period_ns, value, before, after)

    def _covered(self, newest_ns: Int64) -> Int64:
        """Return the last slot of the newest window that is due when this is the newest time."""
        spec = self.spec
        return (newest_ns - spec.lateness_ns) // spec.stride_ns * spec.stride - 1

    def _run(self, steps: _Steps, covered_before: Int64, covered: Int64) -> DueWindows:
        count = self._due_counts(steps, covered_before, covered)
        triggers = count > 0
        found = [_nothing(self.spec)]
        for rows in _rounds(steps.machine, triggers):
            first = rows[triggers[rows]]
            if len(first):
                found.append(self._cut(steps, first, covered_before[first], count[first]))
            self._write(steps.at(rows))
        return DueWindows._make(np.concatenate(part) for part in zip(*found, strict=True))

    def _due_counts(self, steps: _Steps, covered_before: Int64, covered: Int64) -> Int64:
        """Return how many windows each reading makes due that can hold anything."""
        spec = self.spec
        last_with_data = steps.before_ns // spec.period_ns + spec.length - 1
        count = (np.minimum(covered, last_with_data) - covered_before) // spec.stride
        count[steps.before_ns == NEVER] = 0
        return np.maximum(count, 0)

    def _cut(
        self, steps: _Steps, trigger: Int64, covered_before: Int64, count: Int64
    ) -> DueWindows:
        """Cut windows out of the rings as they are before the triggers themselves are written."""
        spec = self.spec
        which = np.repeat(np.arange(len(trigger)), count)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        stop = covered_before[which] + (nth + 1) * spec.stride
        slots = stop[:, np.newaxis] + np.arange(1 - spec.length, 1)
        machine = steps.machine[trigger][which]
        values = self._cells[machine[:, np.newaxis], slots % self._rows]
        newest = (steps.before_ns[trigger] // spec.period_ns)[which]
        values[slots > newest[:, np.newaxis]] = np.nan
        filled = np.count_nonzero(~np.isnan(values), axis=(1, 2)) >= spec.min_cells
        end_ns = (stop + 1) * spec.period_ns
        return DueWindows(machine[filled], end_ns[filled], trigger[which][filled], values[filled])

    def _write(self, steps: _Steps) -> None:
        """Write readings between which no window becomes due; the last one in a cell wins."""
        self._newest_ns[steps.machine] = steps.after_ns  # the last one of a machine is its newest
        self._clear(steps)
        newest = self._newest_ns[steps.machine] // self.spec.period_ns
        kept = (steps.channel != NO_CHANNEL) & (steps.slot > newest - self._rows)
        at = steps.machine[kept], steps.slot[kept] % self._rows, steps.channel[kept]
        self._cells[at] = steps.value[kept]

    def _clear(self, steps: _Steps) -> None:
        """Empty the rows of all slots that were reached for the first time."""
        period_ns = self.spec.period_ns
        to = steps.after_ns // period_ns
        count = np.minimum(to - steps.before_ns // period_ns, self._rows)
        which = np.repeat(np.arange(len(count)), count)
        back = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        self._cells[steps.machine[which], (to[which] - back) % self._rows] = np.nan


def _running_maximum(values: Int64, begins: Int64) -> Int64:
    """Return the maximum so far, beginning anew at each index of `begins`."""
    falls = np.diff(values) < 0
    falls[begins[1:] - 1] = False
    if not falls.any():
        return values
    rank = np.empty(len(values), np.int64)
    sorted_by = np.argsort(values, kind="stable")
    rank[sorted_by] = np.arange(len(values))
    base = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(values))) * len(values)
    return values[sorted_by[np.maximum.accumulate(rank + base) - base]]


def _rounds(machine: Int64, triggers: Bool) -> Iterator[Int64]:
    """Yield row numbers in rounds: round k goes from each machine's k-th trigger up to the next."""
    if not triggers.any():
        yield np.arange(len(machine))
        return
    so_far = np.cumsum(triggers)
    begins = np.flatnonzero(np.diff(machine, prepend=-1))
    before = np.where(triggers[begins], so_far[begins] - 1, so_far[begins])
    turn = so_far - np.repeat(before, np.diff(begins, append=len(machine)))
    by_turn = np.argsort(turn, kind="stable")
    yield from np.split(by_turn, np.flatnonzero(np.diff(turn[by_turn])) + 1)


def _nothing(spec: WindowSpec) -> DueWindows:
    none = np.empty(0, np.int64)
    return DueWindows(none, none, none, np.empty((0, spec.length, len(spec.channels)), np.float32))
