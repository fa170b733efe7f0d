"""Each door lets a right model in, and the file decides as the estimator itself does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

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
