"""The proof that a model file is the model that was trained.

The oracle is XGBoost itself on the features that the graph emits, and brute force over raw windows
for the explanation. Stress rows (stress.STRESSES) are added to the windows given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.errors import ParityError
from foreshock_converter.games import game
from foreshock_converter.oracle import brute_force_samples, brute_force_shapley, players_of
from foreshock_converter.stress import stressed
from foreshock_converter.trees import read_forest
from foreshock_wire.model import Model, Outputs
from foreshock_wire.spec import Role

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.calibration import Calibration
    from foreshock_converter.heads import Heads

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

CHUNK: Final = 512
STRESSED: Final = 128
"""How many of the windows are put under every stress."""
EXPLAINED: Final = 32
"""How many windows are explained by brute force."""
MOST_PROBABILITY: Final = 1e-5
MOST_SHAPLEY: Final = 1e-4
MOST_LEAD_TIME_H: Final = 1e-2
"""Summing float32 in another order moves a quantile of `LONG_H` by about this much."""
LONG_H: Final = 1e3
"""Longer times are compared in parts of this."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Largest differences between graph and oracle; infinite where only one of them has a value.

    `flips` counts decisions at the spec's `threshold_margin` that differ. Lead times longer than
    `LONG_H` are compared per `LONG_H`.
    """

    windows: int
    explained: int
    flips: int
    max_abs_margin: float
    max_abs_probability: float
    max_abs_modes: float
    max_abs_lead_time_h: float
    max_abs_shapley: float

    @property
    def ok(self) -> bool:
        """No flip, and every output within its tolerance."""
        return (
            self.flips == 0
            and self.max_abs_probability < MOST_PROBABILITY
            and self.max_abs_modes < MOST_PROBABILITY
            and self.max_abs_lead_time_h < MOST_LEAD_TIME_H
            and self.max_abs_shapley < MOST_SHAPLEY
        )

    def require(self) -> None:
        """Raise unless `ok`.

        Raises:
            ParityError: the graph is not the model that was trained.
        """
        if not self.ok:
            raise ParityError(
                f"the converted model is not the trained one: {self}; do not register it, and "
                "report the boosters that it was made from"
            )


def parity(model: bytes, heads: Heads, calibration: Calibration, windows: Float32) -> ParityReport:
    """Compare the model file with its parts on `windows` float32[N, T, C] and on stressed ones."""
    loaded = Model.load(model)
    rows = np.concatenate([windows, stressed(_sample(windows, STRESSED))])
    seen = _run(loaded, rows)
    margin = _oracle_margin(heads, loaded, rows, seen.features)
    difference = _Difference(_has_score(loaded, rows))
    limit = loaded.spec.threshold_margin
    # The output is compared as it came: an unscored row decides nothing on either side.
    flips = (seen.margin >= limit) != (margin >= limit)
    to_explain = _sample(rows, EXPLAINED)
    return ParityReport(
        windows=len(rows),
        explained=len(to_explain),
        flips=int(flips.sum()),
        max_abs_margin=difference(seen.margin, margin),
        max_abs_probability=difference(seen.probability, calibration.probability(margin)),
        max_abs_modes=difference(seen.modes, _modes(heads, seen)),
        max_abs_lead_time_h=difference(seen.lead_time, _lead_time(heads, loaded, seen), per=LONG_H),
        max_abs_shapley=_explanation_difference(loaded, heads.fault, to_explain),
    )


class _Difference:
    """Compare rows that have a score, and insist on NaN in those that have none."""

    def __init__(self, scored: npt.NDArray[np.bool_]) -> None:
        self.scored = scored

    def __call__(self, have: Float32, want: npt.NDArray[np.floating], per: float = np.inf) -> float:
        """Return the largest difference, of values beyond `per` relative to it."""
        if not np.isnan(have[~self.scored]).all():
            return float("inf")
        got, due = have[self.scored], want[self.scored]
        with np.errstate(invalid="ignore"):
            off = np.abs(got.astype(np.float64) - due) / np.maximum(1, np.abs(due) / per)
        off[(got == due) | (np.isnan(got) & np.isnan(due))] = 0
        return float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _sample(windows: Float32, most: int) -> Float32:
    picked = np.unique(np.linspace(0, len(windows), most, endpoint=False).astype(int))
    return windows[picked] if len(windows) else windows


def _run(model: Model, windows: Float32) -> Outputs:
    parts = [model.run(windows[i : i + CHUNK]) for i in range(0, len(windows), CHUNK)]
    names = Outputs.__slots__
    return Outputs(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _has_score(model: Model, windows: Float32) -> npt.NDArray[np.bool_]:
    measured = [channel.role is Role.MEASURED for channel in model.spec.channels]
    finite = np.isfinite(windows[:, :, measured])
    scored: npt.NDArray[np.bool_] = np.asarray(finite.any(axis=(1, 2)))
    return scored


def _matrix(features: Float32) -> xgb.DMatrix:
    # A second thread costs more than it gives on a few rows, and 30 times that on a busy machine.
    return xgb.DMatrix(features, nthread=1)


def _margin(booster: xgb.Booster, features: Float32) -> Float32:
    margin: Float32 = booster.predict(_matrix(features), output_margin=True)
    return margin


def _oracle_margin(heads: Heads, model: Model, windows: Float32, features: Float32) -> Float64:
    margin = _margin(heads.fault, features).astype(np.float64)
    return np.where(_has_score(model, windows), margin, np.nan)


def _modes(heads: Heads, seen: Outputs) -> npt.NDArray[np.floating]:
    if heads.modes is None:
        return np.full_like(seen.modes, np.nan)
    margins = _margin(heads.modes, seen.features).astype(np.float64)
    odds = np.exp(margins - margins.max(axis=1, keepdims=True))
    shares: Float64 = odds / odds.sum(axis=1, keepdims=True)
    return shares


def _explanation_difference(model: Model, fault: xgb.Booster, windows: Float32) -> float:
    """Compare with brute force: all coalitions, or the very permutations that were sampled."""
    seen = model.run(windows, explain=True)
    difference = _Difference(_has_score(model, windows))
    if not model.spec.explanation.permutations:
        return difference(seen.shapley, brute_force_shapley(model, fault, windows))
    played = game(len(players_of(model)), len(model.spec.features))
    value, error = brute_force_samples(model, fault, windows, played)
    return max(difference(seen.shapley, value), difference(seen.shapley_error, error))


def _lead_time(heads: Heads, model: Model, seen: Outputs) -> npt.NDArray[np.floating]:
    if heads.lead_time is None:
        return np.full_like(seen.lead_time, np.nan)
    spec = model.spec
    predicted = heads.lead_time.predict(_matrix(seen.features)).reshape(len(seen.margin), -1)
    law = read_forest(heads.lead_time).failure_time
    if law is not None:
        # XGBoost predicts exp(margin); the quantiles are that many times as long.
        times = np.exp([law.offset(quantile) for quantile in spec.lead_time_quantiles])
        predicted = predicted.astype(np.float64) * times
    ordered: npt.NDArray[np.floating] = np.sort(predicted + heads.shift(spec), axis=1)
    return ordered.clip(min=0)
