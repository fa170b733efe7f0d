"""The simulated plant, judged on machines and days that no model saw, beside the perfect observer.

Features are those of the model's own graph; training, stopping, threshold and conformal intervals
are the trainer's. Machines train, validate or test; what trains or validates ends before the cut,
less an embargo of window + horizon, and what tests lies after it. The observer is that of
`benchmarks.plant`, with its limits chosen in hindsight: a bound, not a rival.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.models_rows import Row
from benchmarks.plant_observer import observe_all
from benchmarks.plant_windows import MIN_FILL, STRIDE, simulate_many
from foreshock_converter.features import FeatureGraph
from foreshock_plant.machine import PERIOD_NS
from foreshock_plant.parameters import MODES, SUDDEN
from foreshock_trainer.calibrate import best_threshold, cheapest_threshold
from foreshock_trainer.crossvalidate import lead_time_figures
from foreshock_trainer.evaluate import NS_PER_HOUR, WindowFigures, window_figures
from foreshock_trainer.examples import Examples
from foreshock_trainer.fit import fault_head, fit, lead_times, margin_of
from foreshock_trainer.fit_settings import FitSettings
from foreshock_trainer.settings import DEFAULT_CHANNELS, parse_channel
from foreshock_trainer.splits import Split
from foreshock_wire.derived import parse_derived

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_plant.machine import Life

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.floating[Any]]
    Ints = npt.NDArray[np.int64]

LENGTH: Final = 96
"""Samples in a window: two days."""
HORIZON_H: Final = 48.0
BAND_H: Final = (24.0, 72.0)
LATER_FROM: Final = 0.75
"""Share of each life that may be learnt from; what tests comes after it."""
MACHINES_AT_ONCE: Final = 60
TEST: Final = 2
HOUR_STEPS: Final = NS_PER_HOUR // PERIOD_NS
SETTINGS: Final = FitSettings(
    rounds=500, patience=30, depth=6, learning_rate=0.06, bins=256, features_per_tree=0.3, l2=1.0
)
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
TRIES: Final = 9
PROTOCOL: Final = (
    "{train} machines train, {validation} stop, calibrate and set limits, {test} test; {hours:g} h "
    "each; learnt from the first three quarters less window + horizon, judged on the last quarter, "
    "as far as what followed was recorded; windows of 48 h every 2 h; {what}; settings were chosen "
    "on validation machines of other seeds"
)


@dataclass(frozen=True, slots=True)
class Size:
    """Machines per part (multiples of 3), hours of each life, machines and particles observed."""

    train: int
    validation: int
    test: int
    hours: float
    observed: int
    particles: int
    seed: int = 6001


FULL: Final = Size(480, 159, 1002, 1500.0, observed=60, particles=400)
QUICK: Final = Size(48, 24, 24, 700.0, observed=6, particles=60)


@dataclass(frozen=True, slots=True)
class _Side:
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

    def take(self, rows: Bool) -> _Side:
        """Return some windows (bool[N])."""
        return _Side(*(getattr(self, name)[rows] for name in _Side.__slots__))


def plant_rows(_: Path, *, quick: bool) -> list[Row]:
    """Return the plant: failures within 48 h, 24 to 72 h ahead, and the lead time's interval."""
    size = QUICK if quick else FULL
    cut = round(LATER_FROM * size.hours * HOUR_STEPS)
    past = (0, cut - LENGTH - round(BAND_H[1] * HOUR_STEPS))
    learn = _side(size, 0, size.train, past)
    choose = _side(size, 1, size.validation, past)
    judge = _side(size, TEST, size.test, (cut, round((size.hours - BAND_H[1]) * HOUR_STEPS)))
    observed = _observed(size, judge)
    return [
        _soon_row(size, learn, choose, judge, observed),
        _band_row(size, learn, choose, judge, observed),
    ]


def _side(size: Size, part: int, count: int, span: tuple[int, int]) -> _Side:
    """Simulate machines, some at a time; keep the features of windows that end in (begin, end]."""
    graph = FeatureGraph(
        tuple(map(parse_channel, DEFAULT_CHANNELS)), LENGTH, PERIOD_NS / 1e9, derived=DERIVED
    )
    parts = []
    for index in range(0, count, MACHINES_AT_ONCE):
        some = min(MACHINES_AT_ONCE, count - index)
        machines = simulate_many(some, seed=_seed(size, part, index), hours=size.hours)
        parts += [
            _of_life(index + i, life, machines.delivered[i], graph, span)
            for i, life in enumerate(machines.lives)
        ]
    return _joined(parts)


def _seed(size: Size, part: int, index: int) -> int:
    return (size.seed * 10 + part) * 10_000 + index


def _joined(parts: list[_Side]) -> _Side:
    columns = ([getattr(part, name) for part in parts] for name in _Side.__slots__)
    return _Side(*(np.concatenate(column) for column in columns))


def _of_life(
    index: int, life: Life, delivered: Float64, graph: FeatureGraph, span: tuple[int, int]
) -> _Side:
    """Cut one life as `benchmarks.plant` does, into longer windows, empty before it began."""
    ends = np.arange(LENGTH // 2, len(life.load), STRIDE)
    ends = ends[(ends > span[0]) & (ends <= span[1])]
    ends = ends[life.running[ends - 1] & life.running[ends]]
    padded = np.concatenate([np.full((LENGTH, delivered.shape[1]), np.nan), delivered])
    windows = np.stack([padded[end : end + LENGTH] for end in ends]).astype(np.float32)
    full = np.mean(~np.isnan(windows[:, LENGTH // 2 :]), axis=(1, 2)) >= MIN_FILL
    ends, windows = ends[full], windows[full]
    lead_h, seen_h, mode = _fates(life, ends)
    features = graph.extract(windows, threads=1)
    return _Side(features, np.full(len(ends), index), ends, lead_h, seen_h, mode)


def _fates(life: Life, ends: Ints) -> tuple[Float64, Float64, Ints]:
    """Return hours to the failure (NaN: none), hours that the life was seen, and the mode."""
    names = (*MODES, SUDDEN)
    events = [e for e in life.events if e.kind in {"failure", "maintenance"}]
    steps = np.array([*(e.step for e in events), len(life.load)])
    mode = np.array([*(names.index(e.mode) if e.kind == "failure" else -1 for e in events), -1])
    following = np.searchsorted(steps, ends)
    seen_h = (steps[following] - ends) * PERIOD_NS / NS_PER_HOUR
    return np.where(mode[following] >= 0, seen_h, np.nan), seen_h, mode[following]


def _soon_row(size: Size, learn: _Side, choose: _Side, judge: _Side, observed: _Observed) -> Row:
    """Judge the model of failures within 48 h, and the interval that it tells."""
    learn, choose, judge = (side.take(side.known(HORIZON_H)) for side in (learn, choose, judge))
    fitted = fit(*_examples(learn, choose), HORIZON_H, SETTINGS)
    label = judge.lead_h <= HORIZON_H
    margin = margin_of(fitted.heads.fault, judge.features)
    alarm = margin >= fitted.threshold_margin
    seen = window_figures(label, margin, alarm)
    told = lead_times(fitted.heads, judge.features)
    interval = lead_time_figures(_as_examples(judge), alarm, told)
    warned = alarm & np.isfinite(judge.lead_h)
    return Row(
        "Plant, within 48 h",
        _protocol(size, "alarms by the best F1 under 5 % false positives on validation"),
        TRIES,
        1,
        _told(seen)
        | {
            "lead_interval_coverage": interval.coverage,
            "lead_interval_promised": interval.promised,
            "lead_interval_machines": float(len(np.unique(judge.machine[warned]))),
            "held_out_machines": float(len(np.unique(judge.machine))),
            "lead_error_h_p50": interval.error_h_p50,
        },
        _idle(seen) | observed.figures(HORIZON_H, (0.0, HORIZON_H), _best_f1),
    )


def _band_row(size: Size, learn: _Side, choose: _Side, judge: _Side, observed: _Observed) -> Row:
    """Judge a model of failures 24 to 72 h ahead, on windows that are not nearer to one."""
    learn, choose, judge = (_in_band(side) for side in (learn, choose, judge))
    every = _joined([learn, choose])
    train = np.arange(len(every.end)) < len(learn.end)
    head = fault_head(every.features, every.lead_h <= BAND_H[1], train, ~train, SETTINGS)
    limit = _most_balanced(margin_of(head, choose.features), choose.lead_h <= BAND_H[1])
    margin = margin_of(head, judge.features)
    seen = window_figures(judge.lead_h <= BAND_H[1], margin, margin >= limit)
    return Row(
        "Plant, 24 to 72 h ahead",
        _protocol(size, "windows nearer than 24 h are not asked; limit by balanced accuracy"),
        TRIES,
        1,
        _told(seen),
        _idle(seen) | observed.figures(BAND_H[1], BAND_H, _most_balanced),
    )


def _in_band(side: _Side) -> _Side:
    return side.take(side.known(BAND_H[1]) & ~(side.lead_h <= BAND_H[0]))


def _protocol(size: Size, what: str) -> str:
    return PROTOCOL.format(what=what, **asdict(size))


def _most_balanced(margin: Floats, label: Bool) -> float:
    """Return the limit of the best balanced accuracy: a miss costs what its rarity says."""
    rare = float(np.mean(~label)) / max(float(np.mean(label)), 1e-12)
    return cheapest_threshold(margin, label, rare)


def _best_f1(margin: Floats, label: Bool) -> float:
    return best_threshold(margin, label, 1.0)


def _examples(learn: _Side, choose: _Side) -> tuple[Float32, Examples, Split]:
    """Return both parts as the trainer takes them, machines numbered through."""
    first = int(learn.machine.max()) + 1
    every = _joined([learn, choose])
    machine = np.concatenate([learn.machine, choose.machine + first])
    names = tuple(f"m-{i:04d}" for i in range(int(machine.max()) + 1))
    examples = _as_examples(every, machine, names)
    return every.features, examples, Split(names[:first], names[first:], ())


def _as_examples(side: _Side, machine: Ints | None = None, names: tuple[str, ...] = ()) -> Examples:
    end_ns = side.end.astype(np.int64) * PERIOD_NS
    lead_ns = np.nan_to_num(side.lead_h, nan=0.0) * NS_PER_HOUR
    return Examples(
        windows=np.zeros((len(end_ns), 1, 1), np.float32),
        end_ns=end_ns,
        machine=side.machine if machine is None else machine,
        label=side.lead_h <= HORIZON_H,
        failure_ns=np.where(np.isnan(side.lead_h), 0, end_ns + lead_ns.astype(np.int64)),
        mode=side.mode,
        mixed=np.zeros(len(end_ns), np.bool_),
        machines=names,
        modes=(*MODES, SUDDEN),
        dropped={},
    )


@dataclass(frozen=True, slots=True)
class _Observed:
    """What the perfect observer says of the first test machines' windows (`side`).

    `within` gives P(fails within so many hours) float64[N], by hours.
    """

    side: _Side
    within: dict[float, Float64]

    def figures(
        self, horizon_h: float, band_h: tuple[float, float], limit: Callable[[Floats, Bool], float]
    ) -> dict[str, float]:
        """Return its figures, by the limit that hindsight gives."""
        near = self.side.lead_h <= band_h[0]
        rows = self.side.known(horizon_h) & ~near
        label, far = self.side.lead_h[rows] <= band_h[1], self.within[band_h[1]][rows]
        soon = self.within[band_h[0]][rows] if band_h[0] else np.zeros(len(far))
        score = (far - soon) / np.maximum(1 - soon, 1e-12)
        seen = window_figures(label, score, score >= limit(score, label))
        wanted = ("f1", "fpr", "balanced_accuracy", "accuracy")
        told = {f"observer_{name}": float(getattr(seen, name)) for name in wanted}
        return told | {"observer_windows": float(seen.windows)}


def _observed(size: Size, judge: _Side) -> _Observed:
    """Let the observer watch the first test machines from their beginning."""
    machines = simulate_many(size.observed, seed=_seed(size, TEST, 0), hours=size.hours)
    hours = (*BAND_H, HORIZON_H)
    said = observe_all(
        machines,
        particles=size.particles,
        seed=size.seed,
        horizons=tuple(round(h * HOUR_STEPS) for h in hours),
    )
    side = judge.take(judge.machine < size.observed)
    within = said[:, side.machine, side.end]
    return _Observed(side, dict(zip(hours, within, strict=True)))


def _told(seen: WindowFigures) -> dict[str, float]:
    wanted = ("f1", "precision", "recall", "fpr", "accuracy", "balanced_accuracy", "pr_auc")
    return {name: float(getattr(seen, name)) for name in wanted}


def _idle(seen: WindowFigures) -> dict[str, float]:
    wanted = ("always_no_accuracy", "always_yes_f1", "random_f1")
    return {name: float(getattr(seen, name)) for name in wanted}
