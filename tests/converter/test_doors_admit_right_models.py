"""Each door lets a right model in, and the file decides as the estimator itself does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest
from spox import Tensor, argument, build

from foreshock_converter.doors import from_lightgbm
from foreshock_converter.doors.admit import settled
from foreshock_converter.doors.brought import LEAST_PROBABILITY
from foreshock_wire.model import Model
from tests.converter.brought_models import (
    Bench,
    forest_file,
    lightgbm_file,
    pipeline_file,
    rows,
    xgboost_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.converter.brought_models import Predict

DOORS = [
    pytest.param(xgboost_file, 2, id="xgboost-binary"),
    pytest.param(xgboost_file, 3, id="xgboost-modes"),
    pytest.param(lightgbm_file, 2, id="lightgbm-binary"),
    pytest.param(lightgbm_file, 3, id="lightgbm-modes"),
    pytest.param(pipeline_file, 3, id="sklearn-pipeline-skops"),
    pytest.param(forest_file, 2, id="sklearn-forest-pickle"),
]


@pytest.mark.parametrize(("make", "classes"), DOORS)
def test_the_file_predicts_as_the_estimator(
    make: Callable[[Path, int], tuple[Path, Predict]], classes: int, tmp_path: Path
) -> None:
    file, predict = make(tmp_path, classes)
    bench, unseen = Bench(tmp_path, classes), rows(7)
    trust = ["--trust"] if file.suffix == ".joblib" else []
    result = bench.bring(file, "--json", *trust)
    assert result.exit_code == 0, result.exception
    parity = json.loads(result.output.splitlines()[-1])["parity"]
    assert (parity["windows"], parity["flips"]) == (10_000, 0)
    model = Model.load(bench.out)
    model.self_test()
    shares = np.asarray(predict(unseen))
    failing = shares if shares.ndim == 1 else 1 - shares[:, 0]
    have = model.run(unseen[:, None, :]).probability.ravel()
    # Up to two faults, and each counts as this at least.
    np.testing.assert_allclose(have, failing, atol=3 * LEAST_PROBABILITY)
    alarms = failing >= model.spec.threshold
    assert 0 < alarms.sum() < len(alarms)
    np.testing.assert_array_equal(have >= model.spec.threshold, alarms)


def test_a_model_that_cannot_read_missing_values_gives_no_score_for_them(tmp_path: Path) -> None:
    file, _ = pipeline_file(tmp_path, 2)
    bench = Bench(tmp_path)
    result = bench.bring(file)
    assert "cannot read missing values" in result.output
    unseen = rows(7)[:, None, :]
    unseen[::2, 0, 1] = np.nan
    have = Model.load(bench.out).run(unseen).probability.ravel()
    assert np.isnan(have[::2]).all()
    assert np.isfinite(have[1::2]).all()


def test_features_are_read_in_the_order_of_the_request(tmp_path: Path) -> None:
    file, predict = lightgbm_file(tmp_path, 2)
    bench, unseen = Bench(tmp_path), rows(7)
    swapped = ["heat.last", "torque", "speed"]
    assert bench.bring(file, features=swapped).exit_code == 0
    have = Model.load(bench.out).run(unseen[:, None, :]).probability.ravel()
    np.testing.assert_allclose(have, predict(unseen[:, [2, 0, 1]]), atol=1e-5)


def test_a_lightgbm_threshold_between_two_neighbouring_floats(tmp_path: Path) -> None:
    low = np.float32(1407.1498)
    x = rows(0)
    x[:, 0] = np.where(np.arange(len(x)) % 2, low, np.nextafter(low, np.float32(np.inf)))
    quiet = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lgb.train(quiet, lgb.Dataset(x, np.arange(len(x)) % 2), num_boost_round=5)
    booster.save_model(tmp_path / "model.txt")
    estimator = from_lightgbm.read(tmp_path / "model.txt")
    features = argument(Tensor(np.float32, ("N", 3)))
    graph = build({"x": features}, {"logits": estimator.nodes(features)})
    session = ort.InferenceSession(graph.SerializeToString())
    have = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(have, estimator.logits(x), atol=1e-4)


def test_a_threshold_keeps_off_the_probabilities_and_every_decision() -> None:
    steps, close = np.array([0.0, 0.25, 0.5, 0.75, 1.0]), np.array([0.49999, 0.5])
    for shares in (np.repeat(steps, 3), steps, close):
        moved, notes = settled(0.5, shares)
        assert 0.4998 < moved < 0.5
        assert notes
        np.testing.assert_array_equal(shares >= moved, shares >= 0.5)
    # Steps that only other rows lie on count too: those of a forest whose rows here miss it.
    assert settled(0.5, np.repeat(steps[[0, 1, 3]], 3))[0] < 0.5
    assert settled(0.5, np.linspace(0.1, 0.9, 1000)) == (0.5, ())
