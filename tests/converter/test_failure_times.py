"""survival:aft: the graph's quantiles are those of XGBoost's own distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xgboost as xgb
from scipy import stats

from foreshock_converter.assemble import assemble
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import FeatureGraph
from foreshock_converter.parity import parity
from foreshock_converter.sample import synthetic_windows
from foreshock_converter.survival import FailureTime
from foreshock_converter.trees import read_forest, snap_thresholds
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from foreshock_converter.sample import Trained

SCIPY = {"normal": stats.norm, "logistic": stats.logistic, "extreme": stats.gumbel_l}


def trained_on_censored_times(trained: Trained, **params: object) -> xgb.Booster:
    windows, hours, _ = synthetic_windows(400, 5, 48)
    spec = trained.spec
    features = FeatureGraph.of(spec).extract(windows)
    data = xgb.DMatrix(features, nthread=1)
    data.set_float_info("label_lower_bound", np.minimum(hours, 96))
    data.set_float_info("label_upper_bound", np.where(hours < 96, hours, np.inf))
    common = {"objective": "survival:aft", "max_depth": 3, "nthread": 1, "seed": 0}
    return snap_thresholds(xgb.train(common | params, data, 12), features)


@pytest.mark.parametrize("distribution", SCIPY)
@pytest.mark.parametrize("base_score", [0.5, 30.0])
def test_quantiles_are_those_of_the_distribution(
    trained: Trained, distribution: str, base_score: float
) -> None:
    booster = trained_on_censored_times(
        trained,
        aft_loss_distribution=distribution,
        aft_loss_distribution_scale=0.8,
        base_score=base_score,
    )
    heads = replace(trained.heads, lead_time=booster, lead_time_shift=())
    made = assemble(
        trained.spec, heads, trained.calibration, trained.novelty, windows=trained.windows
    )
    model, rows = Model.load(made), synthetic_windows(200, 5, 48, seed=5)[0]
    outputs = model.run(rows)
    middle = booster.predict(xgb.DMatrix(outputs.features, nthread=1)).astype(np.float64)
    z = SCIPY[distribution].ppf(trained.spec.lead_time_quantiles)
    np.testing.assert_allclose(outputs.lead_time, middle[:, None] * np.exp(0.8 * z), rtol=1e-5)
    assert len(np.unique(outputs.lead_time[:, 1])) > 20
    parity(made, heads, trained.calibration, rows).require()


def test_a_wrong_scale_is_noticed(trained: Trained) -> None:
    one, other = (
        replace(
            trained.heads,
            lead_time_shift=(),
            lead_time=trained_on_censored_times(trained, aft_loss_distribution_scale=scale),
        )
        for scale in (0.8, 0.9)
    )
    made = assemble(
        trained.spec, one, trained.calibration, trained.novelty, windows=trained.windows
    )
    assert not parity(made, other, trained.calibration, trained.windows).ok


def test_the_margin_is_the_logarithm_of_the_time(trained: Trained) -> None:
    booster = trained_on_censored_times(trained, base_score=30.0)
    forest = read_forest(booster)
    assert forest.failure_time == FailureTime("normal", 1.0)
    np.testing.assert_allclose(forest.base, np.log(30))


@pytest.mark.parametrize(("distribution", "scale"), [("cauchy", 1.0), ("normal", 0.0)])
def test_an_unknown_distribution_is_named(distribution: str, scale: float) -> None:
    with pytest.raises(UnsupportedModelError, match="normal, logistic, extreme"):
        FailureTime(distribution, scale)
