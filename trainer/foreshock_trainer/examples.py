"""The lake's readings and work orders -> labelled windows, machine by machine.

The windows are cut by `foreshock_rules.windows`, from readings in the order in which the gateway
saw them: they are the gateway's own, bit for bit. What a window's label is, `outcomes` decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from foreshock_rules.windows import WindowSpec, windows_of
from foreshock_trainer.evaluate import NS_PER_HOUR, Scored
from foreshock_trainer.outcomes import Event, Fate, Outcomes, due_times, failures_of, outcomes
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

MACHINES_AT_ONCE: Final = 64
"""How many machines' readings are in memory at a time."""

Progress = Callable[[int, int], object]
"""Told how many of how many machines are done."""


class NoExamplesError(ForeshockError):
    """The lake holds nothing to learn from."""


@dataclass(frozen=True, slots=True)
class Track:
    """One machine's readings in arrival order, with channels as columns of the window.

    `channel` int64[n]; `time_ns` int64[n]; `value` float32[n].
    """

    machine: str
    channel: Int64
    time_ns: Int64
    value: Float32


@dataclass(frozen=True, slots=True)
class Examples:
    """Windows with known outcomes, sorted by machine and then by time.

    `windows` float32[N, T, C]; `end_ns` int64[N]; `machine` int64[N] indexes `machines`; `label`
    bool[N]; `failure_ns` int64[N], 0 where no failure ended this life; `mode` int64[N] indexes
    `modes`, -1 likewise; `mixed` bool[N] (see `outcomes`). `dropped` counts
    the windows without a known outcome, by reason.
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

    def __len__(self) -> int:
        return len(self.end_ns)

    @property
    def lead_time_h(self) -> Float64:
        """Hours from a window's end to the failure that ended this life; NaN when none did."""
        hours = (self.failure_ns - self.end_ns) / NS_PER_HOUR
        return np.where(self.failure_ns > 0, hours, np.nan)

    def take(self, chosen: Bool) -> Examples:
        """Return the chosen windows (bool[N]); names and counts stay."""
        columns = {
            f.name: value[chosen]
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), np.ndarray)
        }
        rest = {"machines": self.machines, "modes": self.modes, "dropped": self.dropped}
        return Examples(**columns, **rest)  # type: ignore[arg-type] # columns by name

    def scored(self, score: npt.NDArray[np.floating[Any]]) -> Scored:
        """Return these windows with a model's scores, for `evaluate`."""
        return Scored(self.machine, self.end_ns, self.label, self.failure_ns, score)


def examples_of(
    lake: Lake, spec: WindowSpec, *, horizon_h: float, progress: Progress | None = None
) -> Examples:
    """Read the lake and return its examples; memory holds the windows and a few machines' readings.

    `progress(done, total)` is told after each machine.

    Raises:
        NoExamplesError: no readings of these channels, no failure, or no window with an outcome.
    """
    events = events_by_machine(lake)
    modes = tuple(sorted({e.mode for rows in events.values() for e in failures_of(rows)}))
    if not modes:
        raise NoExamplesError(
            "the lake holds no failure: import work orders with `foreshock trainer labels add`"
        )
    machines = tuple(lake.machines())
    parts = []
    for done, track in enumerate(tracks(lake, machines, spec.channels), start=1):
        parts.append(_of_machine(track, spec, events.get(track.machine, ()), modes, horizon_h))
        if progress:
            progress(done, len(machines))
    return _joined(parts, machines, modes, spec)


def events_by_machine(lake: Lake) -> dict[str, list[Event]]:
    """Return every machine's work orders in order of time."""
    table = lake.events()
    columns = (table[name].to_pylist() for name in ("machine", "time_ns", "kind", "mode"))
    found: dict[str, list[Event]] = {}
    for machine, time_ns, kind, mode in zip(*columns, strict=True):
        found.setdefault(machine, []).append(Event(time_ns, kind, mode or ""))
    return found


def tracks(lake: Lake, machines: Sequence[str], channels: Sequence[str]) -> Iterator[Track]:
    """Yield each machine's readings of the given channels, machines in the order given."""
    for start in range(0, len(machines), MACHINES_AT_ONCE):
        some = machines[start : start + MACHINES_AT_ONCE]
        table = lake.readings(some, columns=("machine", "channel", "time_ns", "value"))
        yield from _split(table.combine_chunks(), some, channels)


def _split(table: pa.Table, machines: Sequence[str], channels: Sequence[str]) -> Iterator[Track]:
    machine, channel = _codes(table, "machine", machines), _codes(table, "channel", channels)
    known = channel >= 0
    machine, channel = machine[known], channel[known]
    time_ns, value = (table[name].to_numpy()[known] for name in ("time_ns", "value"))
    order = np.argsort(machine, kind="stable")
    borders = np.searchsorted(machine[order], np.arange(len(machines) + 1))
    for i, name in enumerate(machines):
        rows = order[borders[i] : borders[i + 1]]
        yield Track(name, channel[rows], time_ns[rows], value[rows])


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
    windows: Float32
    end_ns: Int64
    outcomes: Outcomes
    mode: Int64
    dropped: Counter[str]


def _of_machine(
    track: Track,
    spec: WindowSpec,
    events: Sequence[Event],
    modes: tuple[str, ...],
    horizon_h: float,
) -> _Part:
    end_ns, windows = windows_of(spec, track.channel, track.time_ns, track.value)
    seen = outcomes(
        end_ns,
        due_times(end_ns, track.time_ns, spec.lateness_ns),
        events,
        length_ns=spec.length * spec.period_ns,
        horizon_ns=round(horizon_h * NS_PER_HOUR),
        last_reading_ns=int(track.time_ns.max(initial=0)),
    )
    mode_of = np.array([*(modes.index(e.mode) for e in failures_of(events)), -1], np.int64)
    keep = seen.fate <= Fate.MIXED
    dropped = Counter(Fate(fate).name.lower() for fate in seen.fate[~keep])
    return _Part(windows[keep], end_ns[keep], seen.take(keep), mode_of[seen.failure[keep]], dropped)


def _joined(
    parts: list[_Part], machines: tuple[str, ...], modes: tuple[str, ...], spec: WindowSpec
) -> Examples:
    counts = [len(part.end_ns) for part in parts]
    if not sum(counts):
        raise NoExamplesError(
            f"no window of the lake's {len(machines)} machines has a known outcome: the lake needs "
            f"readings of {', '.join(spec.channels)} that go on for longer than the horizon"
        )
    return Examples(
        windows=np.concatenate([part.windows for part in parts]),
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
