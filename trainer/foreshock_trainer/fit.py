"""Examples' features -> the boosters of a model, stopped and calibrated on validation machines.

Each head is one XGBoost booster (hist, wide bins). The heads train side by side, one thread each:
with OpenMP's two threads on two busy cores the same training takes up to ten times as long, and one
thread gives the same bits on every machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.calibration import Platt
from foreshock_converter.heads import Heads, Novelty
from foreshock_converter.trees import snap_thresholds
from foreshock_trainer.calibrate import (
    best_threshold,
    cheapest_threshold,
    conformal_shift,
    platt_line,
)
from foreshock_trainer.evaluate import window_figures
from foreshock_trainer.fit_settings import LeadTimeHead
from foreshock_trainer.splits import refuse_overlap, rows_of
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_trainer.evaluate import WindowFigures
    from foreshock_trainer.examples import Examples
    from foreshock_trainer.fit_settings import FitSettings
    from foreshock_trainer.splits import Split

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

QUANTILES: Final = (0.05, 0.5, 0.95)
"""Of the lead time: a 90 % interval around the median."""
HEALTHY_BEYOND: Final = 3.0
"""A window is healthy when no failure came for this many horizons."""
LEARNT_LEAD_TIMES: Final = 2.0
"""The quantile head learns from windows up to this many horizons before a failure."""
SHORTEST_LEAD_TIME_H: Final = 1 / 60
"""A logarithm needs more than nothing; a minute is less than any window can tell."""
AFT_SCALE: Final = 0.8
"""Of the normal distribution of log hours; what it gets wrong, the conformal shift puts right."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained model before it is a file.

    `modes` are the classes of the mode head; `healthy` bool[N] are the examples that stood for
    normal; `rounds` how many trees the fault head kept.
    """

    heads: Heads
    modes: tuple[str, ...]
    calibration: Platt
    threshold_margin: float
    novelty: Novelty
    healthy: Bool
    validation: WindowFigures
    rounds: int


class FitError(ForeshockError):
    """The examples cannot train a model."""


def fit(
    features: Float32,
    examples: Examples,
    split: Split,
    horizon_h: float,
    settings: FitSettings,
) -> Fitted:
    """Train on `split.train`, stop and calibrate on `split.validation`; `split.test` is not read.

    Args:
        features: float32[N, F] of the examples' windows, as the model's graph emits them.
        examples: the N windows' outcomes.
        split: who may do what.
        horizon_h: how far ahead a failure counts, in hours.
        settings: of the boosters.

    Raises:
        FitError: the training machines never failed.
        CalibrationError: the validation machines cannot calibrate.
    """
    refuse_overlap(split.train, split.validation, split.test)
    rows = _Rows.of(features, examples, split, horizon_h, settings)
    if not (examples.label & rows.train).any():
        raise FitError(
            f"none of the {len(split.train)} training machines failed within {horizon_h:g} h of a "
            "window: record more machines, or longer"
        )
    with ThreadPoolExecutor(3) as pool:
        fault = pool.submit(fault_head, features, examples.label, rows.train, rows.valid, settings)
        lead_time = pool.submit(_LEAD_TIME[settings.lead_time_head], rows)
        modes = pool.submit(_modes, rows)
        names, mode_head = modes.result()
        heads = Heads(fault.result(), mode_head, lead_time.result())
    return _calibrated(rows, heads, names)


def with_lead_time(
    fitted: Fitted,
    features: Float32,
    examples: Examples,
    split: Split,
    *,
    horizon_h: float,
    settings: FitSettings,
) -> Fitted:
    """Return a trained model with another lead-time head in the place of its own.

    Arguments as in `fit`; of the settings, those of the lead time are read.
    """
    rows = _Rows.of(features, examples, split, horizon_h, settings)
    heads = replace(fitted.heads, lead_time=_LEAD_TIME[settings.lead_time_head](rows))
    shift = _shift(rows, heads, fitted.threshold_margin)
    return replace(fitted, heads=replace(heads, lead_time_shift=shift))


@dataclass(frozen=True, slots=True)
class _Rows:
    features: Float32
    examples: Examples
    train: Bool
    valid: Bool
    horizon_h: float
    settings: FitSettings

    @classmethod
    def of(
        cls,
        features: Float32,
        examples: Examples,
        split: Split,
        horizon_h: float,
        settings: FitSettings,
    ) -> _Rows:
        train = rows_of(examples.machine, examples.machines, split.train)
        valid = rows_of(examples.machine, examples.machines, split.validation)
        return cls(features, examples, train, valid, horizon_h, settings)

    def near_failure(self, side: Bool) -> Bool:
        near: Bool = side & (self.examples.lead_time_h <= LEARNT_LEAD_TIMES * self.horizon_h)
        return near

    def learn(self, chosen: Bool, label: npt.NDArray[Any], **parameters: object) -> xgb.Booster:
        rounds = int(str(parameters.pop("rounds")))
        data = _bins(self.features[chosen], label[chosen], self.settings)
        return self.trained(data, rounds, **parameters)

    def trained(self, data: xgb.DMatrix, rounds: int, **parameters: object) -> xgb.Booster:
        booster = xgb.train(self.settings.parameters(**parameters), data, rounds)
        return snap_thresholds(booster, self.features[self.train])


def fault_head(
    features: Float32, label: Bool, train: Bool, stop: Bool, settings: FitSettings
) -> xgb.Booster:
    """Return the booster of failures within the horizon.

    Args:
        features: float32[N, F].
        label: bool[N].
        train: bool[N], rows that it learns from.
        stop: bool[N], rows of other machines, whose loss ends the training; not read when
            `settings.patience` is 0.
        settings: of the booster.
    """
    known = _bins(features[train], label[train], settings)
    if settings.patience:
        booster = xgb.train(
            settings.parameters(objective="binary:logistic", eval_metric="logloss"),
            known,
            settings.rounds,
            evals=[(_bins(features[stop], label[stop], settings, ref=known), "stop")],
            early_stopping_rounds=settings.patience,
            verbose_eval=False,
        )
        booster = booster[: booster.best_iteration + 1]
    else:
        booster = xgb.train(
            settings.parameters(objective="binary:logistic"), known, settings.rounds
        )
    return snap_thresholds(booster, features[train])


def threshold(margin: Float32, label: Bool, settings: FitSettings) -> float:
    """Return the margin from which on to alarm, from windows of validation machines.

    Raises:
        CalibrationError: no threshold keeps the cap, or is cheaper than never to alarm.
    """
    if settings.miss_cost is None:
        return best_threshold(margin, label, settings.max_fpr)
    return cheapest_threshold(margin, label, settings.miss_cost)


def _bins(
    features: Float32,
    label: npt.NDArray[Any] | None,
    settings: FitSettings,
    ref: xgb.DMatrix | None = None,
    **more: npt.NDArray[Any],
) -> xgb.QuantileDMatrix:
    return xgb.QuantileDMatrix(
        features, label, max_bin=settings.bins, nthread=settings.threads, ref=ref, **more
    )


def _modes(rows: _Rows) -> tuple[tuple[str, ...], xgb.Booster | None]:
    """Train on windows before a failure; a failure that no sensor announces is a mode like others.

    Its probability then says how far the sensors know the mode at all.
    """
    seen = np.flatnonzero(np.bincount(rows.examples.mode[rows.train & rows.examples.label]))
    names = tuple(rows.examples.modes[i] for i in seen)
    if len(names) < 2:  # noqa: PLR2004 - one class needs no booster
        return names, None
    chosen = rows.train & rows.examples.label
    label = np.searchsorted(seen, rows.examples.mode)
    booster = rows.learn(
        chosen,
        label,
        objective="multi:softprob",
        num_class=len(names),
        rounds=rows.settings.mode_rounds,
    )
    return names, booster


def _lead_time_quantiles(rows: _Rows) -> xgb.Booster:
    return rows.learn(
        rows.near_failure(rows.train),
        rows.examples.lead_time_h,
        objective="reg:quantileerror",
        quantile_alpha=list(QUANTILES),
        rounds=rows.settings.lead_time_rounds,
    )


def _lead_time_aft(rows: _Rows) -> xgb.Booster:
    """Learn from every training window: without a failure, its time lies beyond the horizon."""
    lead_h = rows.examples.lead_time_h[rows.train]
    came = np.isfinite(lead_h)
    data = _bins(
        rows.features[rows.train],
        None,
        rows.settings,
        label_lower_bound=np.where(came, np.maximum(lead_h, SHORTEST_LEAD_TIME_H), rows.horizon_h),
        label_upper_bound=np.where(came, np.maximum(lead_h, SHORTEST_LEAD_TIME_H), np.inf),
    )
    return rows.trained(
        data,
        rows.settings.lead_time_rounds,
        objective="survival:aft",
        aft_loss_distribution="normal",
        aft_loss_distribution_scale=AFT_SCALE,
    )


_LEAD_TIME: Final = {
    LeadTimeHead.QUANTILE: _lead_time_quantiles,
    LeadTimeHead.AFT: _lead_time_aft,
}


def _calibrated(rows: _Rows, heads: Heads, modes: tuple[str, ...]) -> Fitted:
    label = rows.examples.label[rows.valid]
    margin = margin_of(heads.fault, rows.features[rows.valid])
    calibration = Platt(*platt_line(margin, label))
    limit = threshold(margin, label, rows.settings)
    healthy = _healthy(rows)
    return Fitted(
        heads=replace(heads, lead_time_shift=_shift(rows, heads, limit)),
        modes=modes,
        calibration=calibration,
        threshold_margin=limit,
        novelty=Novelty.fit(rows.features[healthy]),
        healthy=healthy,
        validation=window_figures(label, margin, margin >= limit),
        rounds=heads.fault.num_boosted_rounds(),
    )


def _healthy(rows: _Rows) -> Bool:
    """Training windows, of one life, long before any failure."""
    soon = rows.examples.lead_time_h < HEALTHY_BEYOND * rows.horizon_h
    clean: Bool = rows.train & ~rows.examples.label & ~rows.examples.mixed
    return clean & ~soon if (clean & ~soon).any() else clean


def _shift(rows: _Rows, heads: Heads, limit: float) -> tuple[float, ...]:
    """Calibrate where the interval is shown: on windows that alarm."""
    near = np.flatnonzero(rows.near_failure(rows.valid))
    near = near[margin_of(heads.fault, rows.features[near]) >= limit]
    if heads.lead_time is None or not len(near):
        return (0.0,) * len(QUANTILES)
    predicted = heads.quantiles_h(rows.features[near], QUANTILES)
    return conformal_shift(predicted, rows.examples.lead_time_h[near], QUANTILES)


def lead_times(heads: Heads, features: Float32) -> Float32:
    """Return the calibrated quantiles float32[N, Q] in hours, ordered, as the model file has them.

    Args:
        heads: with a lead-time head.
        features: float32[N, F].
    """
    shifted = heads.quantiles_h(features, QUANTILES) + np.array(heads.lead_time_shift)
    ordered: Float32 = np.sort(shifted, axis=1).clip(min=0).astype(np.float32)
    return ordered


def margin_of(booster: xgb.Booster, features: Float32) -> Float32:
    """Return the raw scores float32[N] of features float32[N, F]."""
    margin: Float32 = booster.predict(xgb.DMatrix(features, nthread=1), output_margin=True)
    return margin
