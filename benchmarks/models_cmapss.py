"""C-MAPSS: the cycles that an engine has left, learnt by training engines, asked once of the test.

Beside the sensors stand two health indices: ridge regressions of the cycles left on one cycle's
sensors, which sum the sensors as no tree can; smoothed over several spans, as all sensors are, and
held against the engine's own first cycles. Boosters learn the cycles left, capped. The limits of
both decisions come from training engines by turns. The model file's graph has no sums of channels:
what it comes to on these engines is told in docs/adr/0010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xgboost as xgb

from benchmarks.models_rows import Row
from foreshock_trainer.calibrate import best_threshold, cheapest_threshold
from foreshock_trainer.datasets.base import Part
from foreshock_trainer.datasets.channels import varies
from foreshock_trainer.datasets.cmapss import CHANNELS, CYCLE, read_sheet
from foreshock_trainer.evaluate import window_figures

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

TRIES: Final = 20
"""Columns and boosters that were told apart on training engines of FD001, by turns; none on the
test engines, and none on FD003."""
CAP: Final = 125.0
SOON: Final = 30.0
BAND: Final = (24.0, 72.0)
FOLDS: Final = 5
SPANS: Final = (5, 10, 20, 40)
SLOPES: Final = (30, 60)
INDEX_CAPS: Final = (60.0, CAP)
"""Cycles left beyond these look alike to a health index."""
INDEX_SPANS: Final = (*SPANS, 1000)
INDEX_SLOPES: Final = (20, 40, 80)
FIRST: Final = 20
"""An engine's own beginning, in cycles."""
RIDGE: Final = 1.0
CAPPED_WEIGHT: Final = 0.5
"""Of cycles at the cap, of which there are many and all alike."""
BOOSTER: Final = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.05,
    "subsample": 0.5,
    "colsample_bytree": 0.3,
    "min_child_weight": 20,
    "nthread": 1,
}
ROUNDS: Final = 300
QUICK_SHARE: Final = 3
"""A quick look reads every third training engine, and no test engine at all."""
SEEDS: Final = 3
"""Boosters whose mean is the answer about test engines; by turns one answers alone."""
PROTOCOL: Final = (
    f"cycles left, capped at {CAP:g}; 'turns': training engines in {FOLDS} folds by engine; "
    "'last': the last cycle of each official test engine, 'all': every cycle of these; soon: fails "
    f"within {SOON:g} cycles; band: in {BAND[0]:g} to {BAND[1]:g}; both limits by turns on "
    "training engines; FD003 by what was chosen on FD001"
)


@dataclass(frozen=True, slots=True)
class Cycles:
    """Rows by engine and cycle: sensors float64[N, K], engine int64[N], cycle and left float64[N].

    `test` bool[N] are the official test engines.
    """

    sensors: Float64
    engine: Ints
    cycle: Float64
    left: Float64
    test: Bool

    def take(self, rows: Bool) -> Cycles:
        """Return some rows (bool[N])."""
        return Cycles(*(getattr(self, name)[rows] for name in Cycles.__slots__))


def cmapss_rows(folder: Path, *, quick: bool) -> list[Row]:
    """Return the engines: training engines by turns, and unless `quick` the official test."""
    if quick:
        return [_row(folder, "FD001", counter=True, quick=True)]
    asked = (("FD001", True), ("FD001", False), ("FD003", True))
    return [_row(folder, subset, counter=counter, quick=False) for subset, counter in asked]


def _row(folder: Path, subset: str, *, counter: bool, quick: bool) -> Row:
    every = _read(folder, subset)
    train = every.take(~every.test)
    if quick:
        train = train.take(train.engine % QUICK_SHARE == 0)
    turns = _by_turns(train, counter=counter)
    limits = _limits(turns, train.left)
    figures = _judged(turns, train, limits, "turns", np.ones(len(turns), np.bool_))
    if not quick:
        test = every.take(every.test)
        said = _predicted(train, test, counter=counter, seeds=SEEDS)
        last = np.append(test.engine[1:] != test.engine[:-1], True)
        figures |= _judged(said, test, limits, "last", last)
        figures |= _judged(said, test, limits, "all", np.ones(len(said), np.bool_))
    told = {name: value for name, value in figures.items() if "always" not in name}
    idle = {name: value for name, value in figures.items() if "always" in name}
    name = f"C-MAPSS {subset}{'' if counter else ', from the sensors alone'}"
    return Row(name, PROTOCOL, TRIES, 1 if quick else SEEDS, told, idle)


def _read(folder: Path, subset: str) -> Cycles:
    sheet = read_sheet(folder, subset, 0)
    _, engine = np.unique(sheet.columns["machine"], return_inverse=True)
    test = sheet.part == Part.TEST
    names = [channel.id for channel in CHANNELS if channel is not CYCLE]
    kept = [name for name in names if varies(sheet.columns[name][~test])]
    return Cycles(
        np.column_stack([sheet.columns[name] for name in kept]).astype(np.float64),
        engine,
        sheet.columns["cycle"].astype(np.float64),
        sheet.columns["cycles_left"].astype(np.float64),
        test,
    )


def _by_turns(train: Cycles, *, counter: bool) -> Float64:
    """Return predictions of all training rows, each by engines that are not in its fold."""
    _, engine = np.unique(train.engine, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(int(engine.max()) + 1) % FOLDS)[engine]
    said = np.empty(len(fold))
    for held in range(FOLDS):
        known, asked = train.take(fold != held), train.take(fold == held)
        said[fold == held] = _predicted(known, asked, counter=counter, seeds=1)
    return said


def _predicted(known: Cycles, asked: Cycles, *, counter: bool, seeds: int) -> Float64:
    index = health_indices(known)
    x, asked_x = (engine_features(side, index, counter=counter) for side in (known, asked))
    target = np.minimum(known.left, CAP)
    weight = np.where(target >= CAP, CAPPED_WEIGHT, 1.0)
    data, judge = xgb.QuantileDMatrix(x, target, weight=weight), xgb.DMatrix(asked_x)
    said = [xgb.train(BOOSTER | {"seed": s}, data, ROUNDS).predict(judge) for s in range(seeds)]
    mean: Float64 = np.mean(said, axis=0, dtype=np.float64)
    return mean


@dataclass(frozen=True, slots=True)
class Indices:
    """Health indices: standardised sensors times weights float64[K, I], plus constants."""

    mean: Float64
    scale: Float64
    weights: Float64
    constants: Float64

    def of(self, sensors: Float64) -> Float64:
        """Return the indices float64[N, I] of sensors float64[N, K]."""
        indices: Float64 = (sensors - self.mean) / self.scale @ self.weights + self.constants
        return indices


def health_indices(known: Cycles) -> Indices:
    """Fit the indices to known engines by ridge regression."""
    mean, scale = known.sensors.mean(axis=0), known.sensors.std(axis=0)
    z = (known.sensors - mean) / scale
    targets = np.stack([np.minimum(known.left, cap) for cap in INDEX_CAPS], axis=1)
    constants = targets.mean(axis=0)
    normal = z.T @ z + RIDGE * np.eye(z.shape[1])
    weights = np.linalg.solve(normal, z.T @ (targets - constants))
    return Indices(mean, scale, weights, constants)


def engine_features(rows: Cycles, index: Indices, *, counter: bool) -> Float64:
    """Return float64[N, F]; a row knows its engine's cycles up to its own and nothing else."""
    health = index.of(rows.sensors)
    borders = np.flatnonzero(np.diff(rows.engine)) + 1
    parts = [
        np.hstack([_told(x, SPANS, SLOPES), _told(h, INDEX_SPANS, INDEX_SLOPES)])
        for x, h in zip(np.split(rows.sensors, borders), np.split(health, borders), strict=True)
    ]
    features = np.concatenate(parts)
    return np.column_stack([features, rows.cycle]) if counter else features


def _told(values: Float64, spans: tuple[int, ...], slopes: tuple[int, ...]) -> Float64:
    """Return trailing means, slopes, and the distance from the beginning, of one engine."""
    beginning = _means(values, FIRST)
    beginning[FIRST:] = beginning[min(FIRST, len(values)) - 1]
    drift = _means(values, SPANS[1]) - beginning
    means = [_means(values, span) for span in spans]
    return np.hstack([*means, *(trailing_slopes(values, span) for span in slopes), drift])


def _means(values: Float64, span: int) -> Float64:
    begin, end = _trailing(len(values), span)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    means: Float64 = (total[end] - total[begin]) / (end - begin)[:, None]
    return means


def trailing_slopes(values: Float64, span: int) -> Float64:
    """Return least-squares slopes per cycle over trailing spans; 0 for a single cycle."""
    begin, end = _trailing(len(values), span)
    centred = values - values[0]
    at = np.arange(len(values))[:, None] * centred
    none = np.zeros((1, values.shape[1]))
    total, moment = (np.concatenate([none, np.cumsum(x, axis=0)]) for x in (centred, at))
    middle, count = (begin + end - 1) / 2, end - begin
    rise = moment[end] - moment[begin] - middle[:, None] * (total[end] - total[begin])
    spread = np.where(count > 1, count * (count**2 - 1) / 12, 1.0)
    slopes: Float64 = rise / spread[:, None]
    return slopes


def _trailing(count: int, span: int) -> tuple[Ints, Ints]:
    end = np.arange(1, count + 1)
    return np.maximum(0, end - span), end


@dataclass(frozen=True, slots=True)
class _Limits:
    """An engine fails soon when it has at most `soon` cycles left; `band` is (above, up to)."""

    soon: float
    band: tuple[float, float]


def _limits(said: Float64, left: Float64) -> _Limits:
    """Choose the limits by predictions by turns: best F1, and fewest errors of the band's ends."""
    soon = -best_threshold(-said, left <= SOON, 1.0)
    ends = [_least_errors(said, left <= end) for end in BAND]
    return _Limits(soon, (ends[0], ends[1]))


def _least_errors(said: Float64, label: Bool) -> float:
    return -cheapest_threshold(-said, label, 1.0)


def _judged(
    said: Float64, rows: Cycles, limits: _Limits, name: str, chosen: Bool
) -> dict[str, float]:
    said, left = said[chosen], rows.left[chosen]
    soon = window_figures(left <= SOON, -said, said <= limits.soon)
    low, high = limits.band
    inside = (left > BAND[0]) & (left <= BAND[1])
    middle = (low + high) / 2
    band = window_figures(inside, -np.abs(said - middle), (said > low) & (said <= high))
    error = np.minimum(said, CAP) - np.minimum(left, CAP)
    return {
        f"{name}_rmse": float(np.sqrt(np.mean(error**2))),
        f"{name}_soon_f1": soon.f1,
        f"{name}_soon_fpr": soon.fpr,
        f"{name}_soon_always_yes_f1": soon.always_yes_f1,
        f"{name}_band_accuracy": band.accuracy,
        f"{name}_band_balanced_accuracy": band.balanced_accuracy,
        f"{name}_band_always_no_accuracy": band.always_no_accuracy,
    }
