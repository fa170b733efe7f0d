"""The trained parts that one model file is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import xgboost as xgb

from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.scorer import Ensemble
from foreshock_converter.trees import Forest, read_forest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_wire.spec import ModelSpec

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

MAD_TO_SIGMA: Final = 1.4826
"""A Gaussian's standard deviation over its median absolute deviation."""
MOST_SIGMAS: Final = 8.0
"""One feature counts as at most this far from healthy, so that none decides alone."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The boosters, all over the same features.

    `fault`: binary:logistic. `modes`: multi:softprob, one class per failure mode of the spec.
    `lead_time` in hours: reg:quantileerror, one alpha per quantile of the spec, or survival:aft,
    whose distribution gives the spec's quantiles. Without `modes` or `lead_time` the model's output
    of that name is NaN, in its full width. `lead_time_shift` adds the conformal correction, in
    hours, to each quantile.
    """

    fault: xgb.Booster
    modes: xgb.Booster | None = None
    lead_time: xgb.Booster | None = None
    lead_time_shift: tuple[float, ...] = ()

    def scorer(self, spec: ModelSpec, names: Sequence[str]) -> Ensemble:
        """Read the heads that there are, checked against the spec and the graph's features.

        Raises:
            UnsupportedModelError: a head of another shape or objective.
        """
        widths = _widths(spec)
        boosters = {"fault": self.fault, "modes": self.modes, "lead_time": self.lead_time}
        forests = {
            name: _checked(name, booster, widths[name], len(names))
            for name, booster in boosters.items()
            if booster is not None
        }
        return Ensemble(forests, self.shift(spec))

    def shift(self, spec: ModelSpec) -> Float32:
        """Return the conformal shift float32[Q] in hours, zero when none was given.

        Raises:
            UnsupportedModelError: it has another length than the spec's quantiles.
        """
        quantiles = len(spec.lead_time_quantiles)
        shift = np.array(self.lead_time_shift or (0.0,) * quantiles, np.float32)
        if shift.shape != (quantiles,) or not np.isfinite(shift).all():
            raise UnsupportedModelError(
                f"lead_time_shift {self.lead_time_shift} must give one finite number of hours for "
                f"each of the {quantiles} quantiles"
            )
        return shift

    def scores(self, features: Float32) -> npt.NDArray[np.bool_]:
        """Trees score every row."""
        return np.ones(len(features), bool)

    def margin(self, features: Float32) -> Float64:
        """Return what XGBoost itself says of features float32[N, F]."""
        return _predicted(self.fault, features, output_margin=True)[:, 0]

    def mode_shares(self, features: Float32) -> Float64 | None:
        """Return probabilities float64[N, M] from XGBoost's margins; None without the head."""
        if self.modes is None:
            return None
        margins = _predicted(self.modes, features, output_margin=True)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        shares: Float64 = odds / odds.sum(axis=1, keepdims=True)
        return shares

    def lead_time_h(self, features: Float32, spec: ModelSpec) -> Float64 | None:
        """Return shifted, ordered quantiles float64[N, Q] from XGBoost's predictions."""
        if self.lead_time is None:
            return None
        predicted = self.quantiles_h(features, spec.lead_time_quantiles)
        ordered: Float64 = np.sort(predicted + self.shift(spec), axis=1).clip(min=0)
        return ordered

    def quantiles_h(self, features: Float32, quantiles: Sequence[float]) -> Float64:
        """Return what the lead-time head itself says, float64[N, Q] hours, before any shift.

        Args:
            features: float32[N, F].
            quantiles: the levels; those that the head was trained for, or any with survival:aft.

        Raises:
            UnsupportedModelError: there is no lead-time head.
        """
        if self.lead_time is None:
            raise UnsupportedModelError("these heads tell no lead time: train one")
        predicted = _predicted(self.lead_time, features)
        law = read_forest(self.lead_time).failure_time
        if law is not None:
            # XGBoost predicts exp(margin); the quantiles are that many times as long.
            predicted = predicted * np.exp([law.offset(q) for q in quantiles])
        return predicted


@dataclass(frozen=True, slots=True)
class Novelty:
    """How far from healthy windows, as the mean squared robust z-score of the present features.

    `median` and `scale` float32[F]; a feature whose scale is 0 or NaN is not looked at. About 1 on
    windows like the ones it was fitted on, at most `MOST_SIGMAS` squared.
    """

    median: Float32
    scale: Float32

    @classmethod
    def fit(cls, features: Float32) -> Novelty:
        """Fit to healthy windows' features float32[N, F]."""
        pairs = [_centre_and_spread(column[np.isfinite(column)]) for column in features.T]
        median, scale = np.array(pairs, np.float32).reshape(-1, 2).T
        return cls(median.copy(), scale.copy())

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Which features are looked at."""
        return np.isfinite(self.median) & np.isfinite(self.scale) & (self.scale > 0)


def _centre_and_spread(values: Float32) -> tuple[float, float]:
    if not len(values):
        return np.nan, np.nan
    median = float(np.median(values))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(values - median)))
    return median, spread or float(np.std(values, dtype=np.float64))


def _predicted(booster: xgb.Booster, features: Float32, *, output_margin: bool = False) -> Float64:
    # A second thread costs more than it gives on a few rows, and 30 times that on a busy machine.
    data = xgb.DMatrix(features, nthread=1)
    predicted = booster.predict(data, output_margin=output_margin)
    return predicted.astype(np.float64).reshape(len(features), -1)


def _widths(spec: ModelSpec) -> dict[str, dict[str, int]]:
    """Return the objectives that each head may have, and how many columns each of them gives."""
    return {
        "fault": dict.fromkeys(("binary:logistic", "binary:logitraw"), 1),
        "modes": dict.fromkeys(("multi:softprob", "multi:softmax"), len(spec.modes)),
        "lead_time": {"reg:quantileerror": len(spec.lead_time_quantiles), "survival:aft": 1},
    }


def _checked(name: str, booster: xgb.Booster, widths: dict[str, int], features: int) -> Forest:
    forest = read_forest(booster, name=name)
    if forest.objective not in widths:
        raise UnsupportedModelError(
            f"the {name} booster has the objective {forest.objective!r}, its head is "
            f"{' or '.join(map(repr, widths))}"
        )
    width = widths[forest.objective]
    if forest.targets != width:
        raise UnsupportedModelError(
            f"the {name} booster gives {forest.targets} columns, the spec names {width}"
        )
    if forest.features != features:
        raise UnsupportedModelError(
            f"the {name} booster reads {forest.features} features, the graph gives {features}: "
            "train it on FeatureGraph.extract of the same channels"
        )
    return forest
