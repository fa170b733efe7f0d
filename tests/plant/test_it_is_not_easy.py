from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import plant
from foreshock_plant.parameters import MODES

pytestmark = pytest.mark.timeout(600)  # seconds of work, but minutes on a crowded computer


@pytest.fixture(scope="module")
def quick() -> dict[str, float]:
    done = CliRunner().invoke(plant.main, ["--quick", "--json", "--seed", "7"])
    assert done.exit_code == 0, done.output
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_not_even_the_perfect_observer_is_always_right(quick: dict[str, float]) -> None:
    assert 0.8 < quick["observer_f1"] <= 0.98


def test_the_perfect_observer_is_a_bound_and_sees_every_mode(quick: dict[str, float]) -> None:
    assert quick["observer_f1"] >= quick["xgboost_f1"]
    for mode in MODES:
        assert quick[f"failures_{mode}"] > 0
        # A mode may be one failure's 24 windows here; one that the filter loses is near none.
        assert quick[f"observer_recall_{mode}"] > 0.5


def test_one_sensor_and_a_threshold_do_not_do(quick: dict[str, float]) -> None:
    assert quick["threshold_f1"] <= 0.75


def test_a_linear_model_does_not_do(quick: dict[str, float]) -> None:
    assert quick["logistic_f1"] <= quick["xgboost_f1"] - 0.1


def test_it_can_be_learned(quick: dict[str, float]) -> None:
    assert quick["xgboost_f1"] > 0.7
    assert quick["xgboost_fpr"] < 0.05


def test_always_no_stands_beside_every_accuracy(quick: dict[str, float]) -> None:
    assert quick["always_no_f1"] == 0
    assert quick["always_no_accuracy"] == pytest.approx(1 - quick["positives"])


def test_the_best_cut_is_the_best_of_all_cuts() -> None:
    rng = np.random.default_rng(0)
    label = rng.random(60) < 0.3
    score = (label + rng.standard_normal(60)).round(1)  # rounding makes ties
    f1, cut = plant.best_cut(score, label)
    every = {c: plant.decisions(label, score >= c)["f1"] for c in score}
    assert f1 == pytest.approx(max(every.values()))
    assert every[cut] == pytest.approx(f1)
