"""The lake's readings and work orders -> labelled windows, machine by machine.

The windows are cut by `foreshock_rules.windows`, from readings in the order in which the gateway
saw them: they are the gateway's own, bit for bit. What a window's label is, `outcomes` decides.

Work orders vouch only for what they cover. A machine without any row is left out: nobody says that
it did not fail (an `installed` row does). Without an `observed_until` row a machine counts as
observed up to the last reading that was in the lake when work orders were last told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_rules.windows import WindowSpec, windows_of
from foreshock_trainer.clocks import Clocks
from foreshock_trainer.evaluate import NS_PER_HOUR, Scored
from foreshock_trainer.labels import ANSWER
from foreshock_trainer.outcomes import (
    KINDS,
    Event,
    Fate,
    Outcomes,
    due_times,
    failures_of,
    outcomes,
)
from foreshock_trainer.spool import Spool
from foreshock_wire.batch import FLAG_FUTURE
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from foreshock_trainer.lake import Lake

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Int64 = npt.NDArray[np.int64]

READINGS_AT_ONCE: Final = 2_000_000
"""About so many readings are in memory at a time, but at least one machine's."""
COLUMNS: Final = ("time_ns", "value", "ingested_ns")

Progress = Callable[[int, int], object]
"""Told how many of how many machines are done."""


class NoExamplesError(ForeshockError):
    """The lake holds nothing to learn from."""


@dataclass(frozen=True, slots=True)
class Track:
    """One machine's readings in arrival order, with channels as columns of the window.

    `channel` int64[n]; `time_ns` int64[n]; `value` float32[n]; `ingested_ns` int64[n].
    """

    machine: str
    channel: Int64
    time_ns: Int64
    value: Float32
    ingested_ns: Int64

    def newest_ns(self, told_ns: int) -> int:
        """Return the newest source time among readings ingested by `told_ns`; 0 without any."""
        return int(self.time_ns[self.ingested_ns <= told_ns].max(initial=0))


@dataclass(frozen=True, slots=True)
class WorkOrders:
    """What is known of every machine, in order of time, and when it was last told (ingest time)."""

    events: Mapping[str, Sequence[Event]]
    told_ns: int

    @property
    def modes(self) -> tuple[str, ...]:
        """The failure modes there are, sorted."""
        return tuple(sorted({e.mode for rows in self.events.values() for e in failures_of(rows)}))


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows with known outcomes, sorted by machine and then by time.

    `windows` float32[N, T, C]; `end_ns` int64[N]; `machine` int64[N] indexes `machines`; `label`
    bool[N]; `failure_ns` int64[N], 0 where no failure ended this life; `mode` int64[N] indexes
    `modes`, -1 likewise; `mixed` bool[N] (see `outcomes`). `dropped` counts
    the windows without a known outcome, by reason; `unknown_machines` had no work orders at all.
    """

    windows: Float32
    end_ns: Int64
    machine: Int64
    label: Bool
    failure_ns: Int64
    mode: Int64
    mixed: Bool
    machines: tuple[str, ...]
    modes: tuple[str, ...]
    dropped: Mapping[str, int]
    unknown_machines: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def lead_time_h(self) -> Float64:
        """Hours from a window's end to the failure that ended this life; NaN when none did."""
        hours = (self.failure_ns - self.end_ns) / NS_PER_HOUR
        return np.where(self.failure_ns > 0, hours, np.nan)

    def take(self, chosen: Bool) -> Examples:
        """Return the chosen windows (bool[N]); names and counts stay."""
        columns: dict[str, Any] = {
            f.name: np.asarray(value[chosen])
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), np.ndarray)
        }
        return replace(self, **columns)

    def scored(self, score: npt.NDArray[np.floating[Any]]) -> Scored:
        """Return these windows with a model's scores, for `evaluate`."""
        return Scored(self.machine, self.end_ns, self.label, self.failure_ns, score)


def examples_of(
    lake: Lake,
    spec: WindowSpec,
    *,
    horizon_h: float,
    progress: Progress | None = None,
    seen: Callable[[Float32], object] = lambda _: None,
) -> Examples:
    """Read the lake and return its examples; memory holds a few machines' readings at a time.

    The windows lie on disk (`spool`). `progress(done, total)` is told after each machine; `seen`
    gets each machine's windows float32[n, T, C], in the order of the examples, while they are in
    memory.

    Raises:
        NoExamplesError: no readings of these channels, no failure, or no window with an outcome.
    """
    orders = work_orders(lake)
    if not orders.modes:
        raise NoExamplesError(
            "the lake holds no failure: import work orders with `foreshock trainer labels add`"
        )
    there, clocks = lake.machines(), Clocks.read(lake.events())
    machines = tuple(name for name in there if name in orders.events)
    parts = []
    with Spool(spec.length, len(spec.channels)) as spool:
        for done, track in enumerate(tracks(lake, machines, spec.channels, clocks), start=1):
            part, windows = _of_machine(track, spec, orders, horizon_h)
            parts.append(part)
            spool.add(windows)
            seen(windows)
            if progress:
                progress(done, len(machines))
        joined = _joined(parts, spool, machines, orders.modes, spec)
    return replace(joined, unknown_machines=tuple(sorted(set(there) - set(machines))))


def work_orders(lake: Lake) -> WorkOrders:
    """Return every machine's work orders; other events (a gateway's) are none.

    Answers to alarms do not vouch for anything: neither that a machine of which nothing else is
    known did not fail, nor that the work orders are told up to that day.
    """
    table = lake.events()
    names = ("machine", "time_ns", "kind", "mode", "ingested_ns", "source")
    found: dict[str, list[Event]] = {}
    vouched: set[str] = set()
    told_ns = 0
    for row in zip(*(table[name].to_pylist() for name in names), strict=True):
        machine, time_ns, kind, mode, ingested_ns, source = row
        if kind in KINDS:
            found.setdefault(machine, []).append(Event(time_ns, kind, mode or ""))
            if source != ANSWER:
                vouched.add(machine)
                told_ns = max(told_ns, ingested_ns)
    return WorkOrders({name: found[name] for name in found if name in vouched}, told_ns)


def tracks(
    lake: Lake, machines: Sequence[str], channels: Sequence[str], clocks: Clocks | None = None
) -> Iterator[Track]:
    """Yield each machine's readings of the given channels, machines in the order given.

    Readings that the gateway flagged as coming from the future are left out, as it did: one of
    them would move the watermark past everything that follows. Times are those that the edge saw;
    with `clocks`, stamps of arrival by a wrong clock are put right.
    """
    clocks = clocks or Clocks()
    wanted = ("machine", "channel", "flags", *COLUMNS, *clocks.columns)

    def read(some: Sequence[str]) -> pa.Table:
        return clocks.put_right(lake.readings(some, columns=wanted).combine_chunks())

    # The next machines are read while somebody works on these.
    with ThreadPoolExecutor(1) as ahead:
        reading: deque[tuple[Sequence[str], Future[pa.Table]]] = deque()
        for some in _groups(lake.reading_counts(), machines):
            reading.append((some, ahead.submit(read, some)))
            if len(reading) > 1:
                yield from _next(reading, channels)
        while reading:
            yield from _next(reading, channels)


def _next(
    reading: deque[tuple[Sequence[str], Future[pa.Table]]], channels: Sequence[str]
) -> Iterator[Track]:
    some, table = reading.popleft()
    yield from _split(table.result(), some, channels)


def _groups(counts: Mapping[str, int], machines: Sequence[str]) -> Iterator[list[str]]:
    """Yield neighbouring machines that have about `READINGS_AT_ONCE` together."""
    some: list[str] = []
    held = 0
    for name in machines:
        count = counts.get(name, 0)
        if some and held + count > READINGS_AT_ONCE:
            yield some
            some, held = [], 0
        some.append(name)
        held += count
    if some:
        yield some


def _split(table: pa.Table, machines: Sequence[str], channels: Sequence[str]) -> Iterator[Track]:
    machine, channel = _codes(table, "machine", machines), _codes(table, "channel", channels)
    known = (channel >= 0) & (table["flags"].to_numpy() & FLAG_FUTURE == 0)
    machine, channel = machine[known], channel[known]
    time_ns, value, ingested_ns = (table[name].to_numpy()[known] for name in COLUMNS)
    order = np.argsort(machine, kind="stable")
    borders = np.searchsorted(machine[order], np.arange(len(machines) + 1))
    for i, name in enumerate(machines):
        rows = order[borders[i] : borders[i + 1]]
        yield Track(name, channel[rows], time_ns[rows], value[rows], ingested_ns[rows])


def _codes(table: pa.Table, column: str, names: Sequence[str]) -> Int64:
    """Return each row's index into `names`, -1 when it has another name."""
    if not len(table):
        return np.empty(0, np.int64)
    encoded = table[column].combine_chunks()
    if not hasattr(encoded, "indices"):
        encoded = encoded.dictionary_encode()
    index = {name: i for i, name in enumerate(names)}
    lookup = np.array([index.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int64)
    codes: Int64 = lookup[encoded.indices.to_numpy()]
    return codes


@dataclass(frozen=True, slots=True)
class _Part:
    end_ns: Int64
    outcomes: Outcomes
    mode: Int64
    dropped: Counter[str]


def _of_machine(
    track: Track, spec: WindowSpec, orders: WorkOrders, horizon_h: float
) -> tuple[_Part, Float32]:
    events = orders.events[track.machine]
    end_ns, windows = windows_of(spec, track.channel, track.time_ns, track.value)
    seen = outcomes(
        end_ns,
        due_times(end_ns, track.time_ns, spec.lateness_ns),
        events,
        length_ns=spec.length * spec.period_ns,
        horizon_ns=round(horizon_h * NS_PER_HOUR),
        last_reading_ns=track.newest_ns(orders.told_ns),
    )
    mode_of = np.array([*(orders.modes.index(e.mode) for e in failures_of(events)), -1], np.int64)
    keep = seen.fate <= Fate.MIXED
    dropped = Counter(Fate(fate).name.lower() for fate in seen.fate[~keep])
    part = _Part(end_ns[keep], seen.take(keep), mode_of[seen.failure[keep]], dropped)
    return part, windows[keep]


def _joined(
    parts: list[_Part],
    spool: Spool,
    machines: tuple[str, ...],
    modes: tuple[str, ...],
    spec: WindowSpec,
) -> Examples:
    counts = [len(part.end_ns) for part in parts]
    if not sum(counts):
        raise NoExamplesError(
            f"no window of {len(machines)} machines has a known outcome: the lake needs readings "
            f"of {', '.join(spec.channels)} for longer than the horizon, and work orders told "
            "after them, or with an observed_until row"
        )
    return Examples(
        windows=spool.array(),
        end_ns=np.concatenate([part.end_ns for part in parts]),
        machine=np.repeat(np.arange(len(parts)), counts),
        label=np.concatenate([part.outcomes.label for part in parts]),
        failure_ns=np.concatenate([part.outcomes.failure_ns for part in parts]),
        mode=np.concatenate([part.mode for part in parts]),
        mixed=np.concatenate([part.outcomes.fate == Fate.MIXED for part in parts]),
        machines=machines,
        modes=modes,
        dropped=dict(sum((part.dropped for part in parts), Counter())),
    )
