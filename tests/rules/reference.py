"""The windows of one machine after the words of `foreshock_rules.windows`, slow and obvious."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from hypothesis import strategies as st

from foreshock_rules.windows import Windower, WindowSpec, windows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


class Arrival(NamedTuple):
    """A reading at its place in the order of arrival."""

    channel: int
    time_ns: int
    value: float


Windows = list[tuple[int, bytes]]
"""Window ends with the bytes of their values."""


def reference(spec: WindowSpec, arrivals: Sequence[Arrival]) -> tuple[list[bool], Windows]:
    """Return for each reading whether it is late, and all windows in the order they became due."""
    cells: dict[tuple[int, int], float] = {}
    late, windows = list[bool](), Windows()
    newest = covered_ns = None
    for channel, time_ns, value in arrivals:
        newest = time_ns if newest is None else max(newest, time_ns)
        boundary_ns = (newest - spec.lateness_ns) // spec.stride_ns * spec.stride_ns
        if covered_ns is not None:
            ends = range(covered_ns + spec.stride_ns, boundary_ns + 1, spec.stride_ns)
            windows += [
                (end, values.tobytes()) for end in ends if (values := cut(spec, cells, end)).size
            ]
        covered_ns = boundary_ns
        slot = time_ns // spec.period_ns
        late.append((slot + 1) * spec.period_ns <= covered_ns)
        cells[slot, channel] = value
    return late, windows


def cut(
    spec: WindowSpec, cells: dict[tuple[int, int], float], end_ns: int
) -> npt.NDArray[np.float32]:
    """Return the window that ends at `end_ns`, or nothing where too few cells are filled."""
    end, channels = end_ns // spec.period_ns, range(len(spec.channels))
    rows = [
        [cells.get((slot, channel), np.nan) for channel in channels]
        for slot in range(end - spec.length, end)
    ]
    values = np.array(rows, np.float32)
    filled = np.count_nonzero(~np.isnan(values)) / values.size
    return values if filled >= spec.min_fill else np.empty(0, np.float32)


def incremental(spec: WindowSpec, arrivals: Sequence[Arrival]) -> tuple[list[bool], Windows]:
    """Return the same from a `Windower`; windows are read at the end, when all has arrived."""
    windower, late, due = Windower(spec), [], []
    for arrival in arrivals:
        was_late, windows = windower.add(*arrival)
        late.append(was_late)
        due += windows
    return late, [(window.end_ns, window.values.tobytes()) for window in due]


def bulk(spec: WindowSpec, arrivals: Sequence[Arrival]) -> Windows:
    """Return the same from `windows_of`."""
    ends, windows = windows_of(
        spec,
        np.array([arrival.channel for arrival in arrivals], np.int64),
        np.array([arrival.time_ns for arrival in arrivals], np.int64),
        np.array([arrival.value for arrival in arrivals], np.float32),
    )
    assert windows.dtype == np.float32
    assert windows.shape == (len(ends), spec.length, len(spec.channels))
    return [(int(end), values.tobytes()) for end, values in zip(ends, windows, strict=True)]


SPECS = st.builds(
    WindowSpec,
    channels=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    period_ns=st.sampled_from([1, 7, 10]),
    length=st.integers(1, 6),
    stride=st.integers(1, 8),
    min_fill=st.sampled_from([0.01, 0.5, 1.0]),
    lateness_ns=st.sampled_from([0, 1, 9, 10, 35, 80]),
)
ORIGINS = st.sampled_from([0, 100, 1_704_067_200_000_000_000])
VALUES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def any_arrivals(draw: st.DrawFn, spec: WindowSpec, max_size: int = 60) -> list[Arrival]:
    """Readings at any time in any order: repeated, late by any amount, with gaps and jumps.

    Either scattered at random, or as a plant sends them: about one a slot and channel, each some
    slots early or late, so that windows are full and late readings fall into them.
    """
    origin, period = draw(ORIGINS), spec.period_ns
    channels = st.integers(0, len(spec.channels) - 1)
    if draw(st.booleans()):
        scattered = st.integers(0, 300) | st.integers(0, 3000)
        rows = draw(st.lists(st.tuples(channels, scattered, VALUES), max_size=max_size))
        return [Arrival(channel, origin + time, value) for channel, time, value in rows]
    early_or_late = st.integers(0, 2 * period) | st.integers(-8 * period, 2 * period)
    rows = draw(st.lists(st.tuples(channels, early_or_late, VALUES), min_size=5, max_size=max_size))
    start = origin + 8 * period
    return [
        Arrival(channel, start + i * period // len(spec.channels) + shift, value)
        for i, (channel, shift, value) in enumerate(rows)
    ]


@st.composite
def punctual_arrivals(draw: st.DrawFn, spec: WindowSpec) -> tuple[list[Arrival], list[Arrival]]:
    """Distinct readings in order of time, and in an order where none comes later than allowed."""
    origin = draw(ORIGINS)
    slots = draw(st.lists(st.integers(0, 60), min_size=1, max_size=50, unique=True))
    rows = [
        Arrival(
            draw(st.integers(0, len(spec.channels) - 1)),
            origin + slot * spec.period_ns,
            draw(VALUES),
        )
        for slot in sorted(slots)
    ]
    delays = [draw(st.integers(0, spec.lateness_ns)) for _ in rows]
    order = sorted(range(len(rows)), key=lambda i: rows[i].time_ns + delays[i])
    return rows, [rows[i] for i in order]
