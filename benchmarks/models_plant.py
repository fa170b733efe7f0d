"""The simulated plant, judged on machines and days that no model saw, beside the perfect observer.

Training, stopping, threshold and conformal intervals are the trainer's. Machines train, validate or
test; what trains or validates ends before the cut, less an embargo of window + horizon, and what
tests lies after it. Two groups of machines test: one whose figures had been looked at before the
last settings were chosen, and one of a seed that nothing had been done with. The observer is that
of `benchmarks.plant`, with its limits chosen in hindsight: a bound, not a rival.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from benchmarks.models_rows import Row
from benchmarks.plant_observer import observe_all
from benchmarks.plant_sides import HOUR_STEPS, LENGTH, Group, joined
from benchmarks.plant_windows import STRIDE
from foreshock_plant.parameters import MODES
from foreshock_trainer.bootstrap import window_intervals
from foreshock_trainer.calibrate import best_threshold, cheapest_threshold
from foreshock_trainer.crossvalidate import lead_time_figures
from foreshock_trainer.evaluate import window_figures
from foreshock_trainer.fit import Fitted, fault_head, fit, lead_times, margin_of, with_lead_time
from foreshock_trainer.fit_settings import FitSettings, LeadTimeHead
from foreshock_trainer.splits import Split

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    import xgboost as xgb

    from benchmarks.plant_sides import Side

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]
    Floats = npt.NDArray[np.floating[Any]]
    Figures = dict[str, float]
    Band = tuple[float, float]
    Limit = Callable[[Floats, Bool], float]

HORIZON_H: Final = 48.0
BAND_H: Final = (24.0, 72.0)
ASKED_H: Final = (*BAND_H, HORIZON_H)
"""Horizons that the observer is asked for."""
TRAIN, VALIDATE, TEST = range(3)
LEARN_STRIDE: Final = 3 * STRIDE
"""Windows overlap: machines teach more than windows do."""
EDGE_H: Final = 16.0
"""Hours on either side of the horizon, where a window is nearly of the other class."""
LATER_FROM: Final = 0.75
"""Share of each life that may be learnt from; what tests comes after it."""
TEST_SEEDS: Final = {6001: "looked at before", 7001: "fresh"}
"""Whose test machines judge, and whether any figure of them was seen while settings were chosen."""
SETTINGS: Final = FitSettings(
    rounds=500, patience=30, depth=6, learning_rate=0.06, bins=256, features_per_tree=0.3, l2=1.0
)
TRIES: Final = 14
PROTOCOL: Final = (
    "{train} machines train, {validation} stop, calibrate and set limits, {test} test; {hours:g} h "
    "each; learnt from the first three quarters less window + horizon (a window every 6 h), judged "
    "on the last quarter (every 2 h), as far as what followed was recorded; windows of 48 h; "
    "{what}; settings were chosen on machines of other seeds; the observer saw {observed} of the "
    "machines"
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

    def group(self, part: int, seed: int | None = None) -> Group:
        """Return the machines of a part, of this size's seed or of another one."""
        count = (self.train, self.validation, self.test)[part]
        return Group(seed or self.seed, part, count, self.hours)


FULL: Final = Size(2160, 300, 1002, 1500.0, observed=30, particles=400)
QUICK: Final = Size(48, 24, 24, 700.0, observed=6, particles=60)


def plant_rows(_: Path, *, quick: bool) -> list[Row]:
    """Return the plant by test machines: failures within 48 h, and 24 to 72 h ahead."""
    size = QUICK if quick else FULL
    seeds = (size.seed,) if quick else tuple(TEST_SEEDS)
    cut = round(LATER_FROM * size.hours * HOUR_STEPS)
    past = (0, cut - LENGTH - round(BAND_H[1] * HOUR_STEPS))
    later = (cut, round((size.hours - BAND_H[1]) * HOUR_STEPS))
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        observers = {seed: pool.submit(_observed, size, seed) for seed in seeds}
        learn = size.group(TRAIN).side(pool, past, LEARN_STRIDE)
        choose = size.group(VALIDATE).side(pool, past)
        judges = {seed: size.group(TEST, seed).side(pool, later) for seed in seeds}
        with ThreadPoolExecutor(2) as side_by_side:
            soon = side_by_side.submit(_Soon.learnt, learn, choose)
            band = side_by_side.submit(_Band.learnt, learn, choose)
            models = (soon.result(), band.result())
        return [
            model.row(size, seed, judge, observers[seed].result())
            for model in models
            for seed, judge in judges.items()
        ]


@dataclass(frozen=True, slots=True)
class _Soon:
    """The trainer's model of failures within 48 h; `aft` is it with another lead-time head."""

    fitted: Fitted
    aft: Fitted

    @classmethod
    def learnt(cls, learn: Side, choose: Side) -> Self:
        learn, choose = (side.take(side.known(HORIZON_H)) for side in (learn, choose))
        first = int(learn.machine.max()) + 1
        every = joined([learn, replace(choose, machine=choose.machine + first)])
        names = tuple(f"m-{i:04d}" for i in range(int(every.machine.max()) + 1))
        asked = (every.features, every.examples(names, HORIZON_H))
        split = Split(names[:first], names[first:], ())
        fitted = fit(*asked, split, HORIZON_H, SETTINGS)
        by_aft = replace(SETTINGS, lead_time_head=LeadTimeHead.AFT)
        return cls(
            fitted, with_lead_time(fitted, *asked, split, horizon_h=HORIZON_H, settings=by_aft)
        )

    def row(self, size: Size, seed: int, judge: Side, said: Float64) -> Row:
        """Judge it, and the intervals that it tells."""
        judge = judge.take(judge.known(HORIZON_H))
        label = judge.lead_h <= HORIZON_H
        margin = margin_of(self.fitted.heads.fault, judge.features)
        alarm = margin >= self.fitted.threshold_margin
        warned = alarm & np.isfinite(judge.lead_h)
        return Row(
            f"Plant, within 48 h, test machines of seed {seed} ({TEST_SEEDS[seed]})",
            _protocol(size, "alarms by the best F1 under 5 % false positives on validation"),
            TRIES,
            1,
            _figures(judge, label, margin, alarm)
            | _bounds(judge, label, alarm)
            | _told_of(self.fitted, judge, alarm, "lead_interval")
            | _told_of(self.aft, judge, alarm, "lead_interval_aft")
            | {
                "lead_interval_machines": float(len(np.unique(judge.machine[warned]))),
                "held_out_machines": float(len(np.unique(judge.machine))),
            },
            _idle(label, margin, alarm) | _beside(said, judge, margin, (0.0, HORIZON_H), _best_f1),
        )


@dataclass(frozen=True, slots=True)
class _Band:
    """A model of failures 24 to 72 h ahead, of windows that are not nearer to one."""

    head: xgb.Booster
    limit: float

    @classmethod
    def learnt(cls, learn: Side, choose: Side) -> Self:
        learn, choose = _in_band(learn), _in_band(choose)
        every = joined([learn, choose])
        train = np.arange(len(every.end)) < len(learn.end)
        head = fault_head(every.features, every.lead_h <= BAND_H[1], train, ~train, SETTINGS)
        margin = margin_of(head, choose.features)
        return cls(head, _most_balanced(margin, choose.lead_h <= BAND_H[1]))

    def row(self, size: Size, seed: int, judge: Side, said: Float64) -> Row:
        """Judge it."""
        judge = _in_band(judge)
        label = judge.lead_h <= BAND_H[1]
        margin = margin_of(self.head, judge.features)
        alarm = margin >= self.limit
        return Row(
            f"Plant, 24 to 72 h ahead, test machines of seed {seed} ({TEST_SEEDS[seed]})",
            _protocol(size, "windows nearer than 24 h are not asked; limit by balanced accuracy"),
            TRIES,
            1,
            _figures(judge, label, margin, alarm),
            _idle(label, margin, alarm) | _beside(said, judge, margin, BAND_H, _most_balanced),
        )


def _bounds(judge: Side, label: Bool, alarm: Bool) -> Figures:
    """Return what keeps F1 down: failures that no sensor announces, and the sharp horizon."""
    sudden = label & (judge.mode == len(MODES))
    missed, false = label & ~alarm, alarm & ~label
    edge = np.abs(judge.lead_h - HORIZON_H) <= EDGE_H
    told = window_figures(label[~sudden], alarm[~sudden].astype(np.float64), alarm[~sudden])
    return {
        "f1_without_sudden_failures": told.f1,
        "missed": float(missed.sum()),
        "missed_sudden": float((missed & sudden).sum()),
        "missed_at_edge": float((missed & edge & ~sudden).sum()),
        "false": float(false.sum()),
        "false_at_edge": float((false & edge).sum()),
    }


def _in_band(side: Side) -> Side:
    return side.take(side.known(BAND_H[1]) & ~(side.lead_h <= BAND_H[0]))


def _protocol(size: Size, what: str) -> str:
    return PROTOCOL.format(what=what, **asdict(size))


def _most_balanced(margin: Floats, label: Bool) -> float:
    """Return the limit of the best balanced accuracy: a miss costs what its rarity says."""
    rare = float(np.mean(~label)) / max(float(np.mean(label)), 1e-12)
    return cheapest_threshold(margin, label, rare)


def _best_f1(margin: Floats, label: Bool) -> float:
    return best_threshold(margin, label, 1.0)


def _told_of(fitted: Fitted, judge: Side, alarm: Bool, name: str) -> Figures:
    """Return how good the intervals of a model are, on windows that alarm."""
    examples = judge.examples((), HORIZON_H)
    seen = lead_time_figures(examples, alarm, lead_times(fitted.heads, judge.features))
    return {
        f"{name}_coverage": seen.coverage,
        f"{name}_promised": seen.promised,
        f"{name}_width_h_p50": seen.width_h_p50,
        f"{name}_error_h_p50": seen.error_h_p50,
    }


def _observed(size: Size, seed: int) -> Float64:
    """Let the observer watch the first test machines from their beginning.

    Returns P(fails within each of `ASKED_H`) before each step, float64[H, n, K].
    """
    return observe_all(
        size.group(TEST, seed).simulated(0, size.observed),
        particles=size.particles,
        seed=size.seed,
        horizons=tuple(round(h * HOUR_STEPS) for h in ASKED_H),
    )


def _beside(said: Float64, judge: Side, margin: Float32, band_h: Band, limit: Limit) -> Figures:
    """Return what the observer and the model get on the machines that it saw, both in hindsight.

    Args:
        said: what `_observed` returns.
        judge: windows that are asked.
        margin: float32[N], the model's.
        band_h: hours ahead between which a failure is asked for.
        limit: what chooses a limit from scores and labels.
    """
    few = judge.machine < said.shape[1]
    side = judge.take(few)
    label = side.lead_h <= band_h[1]
    within = dict(zip(ASKED_H, said[:, side.machine, side.end], strict=True))
    near = within[band_h[0]] if band_h[0] else np.zeros(len(label))
    observer = (within[band_h[1]] - near) / np.maximum(1 - near, 1e-12)
    told = {"windows_beside_observer": float(len(label))}
    if not label.any():
        return told
    for who, score in (("observer", observer), ("model_beside_observer", margin[few])):
        seen = window_figures(label, score, score >= limit(score, label))
        wanted = ("f1", "fpr", "balanced_accuracy", "pr_auc")
        told |= {f"{who}_{name}": float(getattr(seen, name)) for name in wanted}
    return told


def _figures(judge: Side, label: Bool, margin: Float32, alarm: Bool) -> Figures:
    """Return the figures, the ends of F1's and FPR's 95 % interval by machine, and the counts."""
    seen = window_figures(label, margin, alarm)
    wanted = ("f1", "precision", "recall", "fpr", "accuracy", "balanced_accuracy", "pr_auc")
    told = {name: float(getattr(seen, name)) for name in wanted}
    ends = window_intervals(judge.machine, label, alarm)
    for name in ("f1", "fpr", "balanced_accuracy"):
        told[f"{name}_low"], told[f"{name}_high"] = ends[name]
    return told


def _idle(label: Bool, margin: Float32, alarm: Bool) -> Figures:
    seen = window_figures(label, margin, alarm)
    wanted = ("always_no_accuracy", "always_yes_f1", "random_f1", "prevalence")
    return {name: float(getattr(seen, name)) for name in wanted}
