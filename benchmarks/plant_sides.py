"""Windows of simulated machines as features and fates: what the plant's models learn and judge.

A side is some machines of one seed, and of their lives the windows that end in a span of time.
Features are those of the model's own graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.plant_windows import MIN_FILL, STRIDE, simulate_many
from foreshock_converter.features import FeatureGraph
from foreshock_plant.machine import PERIOD_NS
from foreshock_plant.parameters import MODES, SUDDEN
from foreshock_trainer.evaluate import NS_PER_HOUR
from foreshock_trainer.examples import Examples
from foreshock_trainer.settings import DEFAULT_CHANNELS, parse_channel
from foreshock_wire.derived import parse_derived

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    import numpy.typing as npt

    from benchmarks.plant_windows import Machines
    from foreshock_plant.machine import Life

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

LENGTH: Final = 96
"""Samples in a window: two days."""
MACHINES_AT_ONCE: Final = 60
HOUR_STEPS: Final = NS_PER_HOUR // PERIOD_NS
DERIVED: Final = tuple(
    map(
        parse_derived,
        (
            "power_of_torque=motor_power/torque:kW/N.m",
            "pressure_of_torque=pressure/torque:bar/N.m",
            "vibration_of_power=vibration/motor_power:mm/s/kW",
            "temperature_of_power=temperature/motor_power:degC/kW",
        ),
    )
)
"""Ratios in which the load cancels."""


@dataclass(frozen=True, slots=True)
class Group:
    """Machines of a seed: `part` 0 trains, 1 validates, 2 tests; `hours` of each life."""

    seed: int
    part: int
    count: int
    hours: float

    def side(self, pool: Executor, span: tuple[int, int], stride: int = STRIDE) -> Side:
        """Return the features of windows that end in the steps (begin, end], and their fates."""
        firsts = range(0, self.count, MACHINES_AT_ONCE)
        return joined(list(pool.map(partial(_some, self, span, stride), firsts)))

    def simulated(self, first: int, count: int) -> Machines:
        """Simulate some of the machines; a life depends on its seed and place, not on `count`."""
        own = (self.seed * 10 + self.part) * 10_000 + first
        return simulate_many(count, seed=own, hours=self.hours)


def _some(group: Group, span: tuple[int, int], stride: int, first: int) -> Side:
    """Simulate machines from the first one on, and cut their lives."""
    graph = FeatureGraph(
        tuple(map(parse_channel, DEFAULT_CHANNELS)), LENGTH, PERIOD_NS / 1e9, derived=DERIVED
    )
    machines = group.simulated(first, min(MACHINES_AT_ONCE, group.count - first))
    parts = []
    for i, life in enumerate(machines.lives):
        ends = np.arange(LENGTH // 2, len(life.load), stride)
        ends = ends[(ends > span[0]) & (ends <= span[1])]
        parts.append(_of_life(first + i, life, machines.delivered[i], graph, ends))
    return joined(parts)


@dataclass(frozen=True, slots=True)
class Side:
    """Windows of one part of the machines, sorted by machine and time.

    `features` float32[N, F]; `machine` int64[N]; `end` int64[N], exclusive step; `lead_h`
    float64[N] hours to the failure that ends this life, NaN where something else does; `seen_h`
    float64[N], how long the life was seen to go on.
    """

    features: Float32
    machine: Ints
    end: Ints
    lead_h: Float64
    seen_h: Float64
    mode: Ints

    def known(self, horizon_h: float) -> Bool:
        """Say of which windows the outcome within the horizon was observed, bool[N]."""
        known: Bool = (self.lead_h <= horizon_h) | (self.seen_h >= horizon_h)
        return known

    def take(self, rows: Bool) -> Side:
        """Return some windows (bool[N])."""
        return Side(*(getattr(self, name)[rows] for name in Side.__slots__))

    def examples(self, machines: Sequence[str], horizon_h: float) -> Examples:
        """Return the windows as the trainer takes them; `machine` indexes the names `machines`."""
        end_ns = self.end.astype(np.int64) * PERIOD_NS
        lead_ns = np.nan_to_num(self.lead_h, nan=0.0) * NS_PER_HOUR
        return Examples(
            windows=np.zeros((len(end_ns), 1, 1), np.float32),
            end_ns=end_ns,
            machine=self.machine,
            label=self.lead_h <= horizon_h,
            failure_ns=np.where(np.isnan(self.lead_h), 0, end_ns + lead_ns.astype(np.int64)),
            mode=self.mode,
            mixed=np.zeros(len(end_ns), np.bool_),
            machines=tuple(machines),
            modes=(*MODES, SUDDEN),
            dropped={},
        )


def joined(sides: Sequence[Side]) -> Side:
    """Return sides one after the other, with the machine numbers that they have."""
    columns = ([getattr(side, name) for side in sides] for name in Side.__slots__)
    return Side(*(np.concatenate(column) for column in columns))


def _of_life(index: int, life: Life, delivered: Float64, graph: FeatureGraph, ends: Ints) -> Side:
    """Cut one life as `benchmarks.plant` does, into longer windows, empty before it began."""
    ends = ends[life.running[ends - 1] & life.running[ends]]
    padded = np.concatenate([np.full((LENGTH, delivered.shape[1]), np.nan), delivered])
    windows = np.stack([padded[end : end + LENGTH] for end in ends]).astype(np.float32)
    full = np.mean(~np.isnan(windows[:, LENGTH // 2 :]), axis=(1, 2)) >= MIN_FILL
    ends, windows = ends[full], windows[full]
    lead_h, seen_h, mode = _fates(life, ends)
    features = graph.extract(windows, threads=1)
    return Side(features, np.full(len(ends), index), ends, lead_h, seen_h, mode)


def _fates(life: Life, ends: Ints) -> tuple[Float64, Float64, Ints]:
    """Return hours to the failure (NaN: none), hours that the life was seen, and the mode."""
    names = (*MODES, SUDDEN)
    events = [e for e in life.events if e.kind in {"failure", "maintenance"}]
    steps = np.array([*(e.step for e in events), len(life.load)])
    mode = np.array([*(names.index(e.mode) if e.kind == "failure" else -1 for e in events), -1])
    following = np.searchsorted(steps, ends)
    seen_h = (steps[following] - ends) * PERIOD_NS / NS_PER_HOUR
    return np.where(mode[following] >= 0, seen_h, np.nan), seen_h, mode[following]
