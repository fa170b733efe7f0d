from __future__ import annotations

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.trees import read_forest, snap_thresholds, thresholds_by_feature


def booster_and_features(seed: int, missing: float = 0.1) -> tuple[xgb.Booster, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    features[:, 0] = rng.integers(0, 5, 300)
    label = (features[:, 0] + features[:, 1] > 2).astype(np.float32)
    features[rng.random(features.shape) < missing] = np.nan
    params = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
    return xgb.train(params, xgb.DMatrix(features, label, nthread=1), 8), features


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), missing=st.sampled_from([0.0, 0.1, 0.6]))
def test_no_training_prediction_changes(seed: int, missing: float) -> None:
    booster, features = booster_and_features(seed, missing)
    snapped = snap_thresholds(booster, features)
    data = xgb.DMatrix(features, nthread=1)
    assert snapped.predict(data).tobytes() == booster.predict(data).tobytes()


def test_a_threshold_stands_midway_between_its_neighbours() -> None:
    booster, features = booster_and_features(1)
    splits = thresholds_by_feature([read_forest(snap_thresholds(booster, features))])
    # Above all values, XGBoost splits what is there from what is missing.
    between = splits[0][splits[0] < 4]
    assert between.size
    assert set(between.tolist()) <= {0.5, 1.5, 2.5, 3.5}
    assert not np.isin(splits[1], features[:, 1]).any()


def test_the_last_bit_of_a_count_decides_nothing_any_more() -> None:
    booster, features = booster_and_features(2)
    shaken = features.copy()
    shaken[:, 0] = np.nextafter(shaken[:, 0], np.float32(-1))
    before, after = xgb.DMatrix(features, nthread=1), xgb.DMatrix(shaken, nthread=1)
    assert booster.predict(before).tobytes() != booster.predict(after).tobytes()
    snapped = snap_thresholds(booster, features)
    assert snapped.predict(before).tobytes() == snapped.predict(after).tobytes()


def test_snapping_twice_is_snapping_once() -> None:
    booster, features = booster_and_features(3)
    once = snap_thresholds(booster, features)
    assert snap_thresholds(once, features).save_raw("json") == once.save_raw("json")


def test_other_features_are_refused() -> None:
    booster, features = booster_and_features(4)
    with pytest.raises(UnsupportedModelError, match="splits 4 features"):
        snap_thresholds(booster, features[:, :3])
