from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xgboost as xgb

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import FeatureGraph
from foreshock_converter.games import exact, game
from foreshock_converter.heads import Novelty
from foreshock_converter.trees import read_forest
from foreshock_wire.errors import ChannelMismatchError
from foreshock_wire.spec import Channel, ModelSpec, Role

if TYPE_CHECKING:
    from foreshock_converter.heads import Heads
    from foreshock_converter.sample import Trained

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)).astype(np.float32)
CATEGORIES = np.column_stack([RNG.integers(0, 5, 200), X[:, 1:]]).astype(np.float32)
Y = (X[:, 1] > 0).astype(np.float32)


def train(x: np.ndarray = X, **params: object) -> xgb.Booster:
    given: dict[str, Any] = {"objective": "binary:logistic", "nthread": 1, **params}
    kinds = given.pop("feature_types", None)
    data = xgb.DMatrix(x, Y, feature_types=kinds, enable_categorical=kinds is not None, nthread=1)
    return xgb.train(given, data, 4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"booster": "dart", "rate_drop": 0.5}, "'dart'.*booster='gbtree'"),
        ({"booster": "gblinear"}, "'gblinear'.*booster='gbtree'"),
        ({"objective": "count:poisson"}, "'count:poisson'; supported are"),
        ({"x": CATEGORIES, "feature_types": ["c", "q", "q"]}, "categories: one-hot"),
        (
            {
                "objective": "reg:quantileerror",
                "quantile_alpha": [0.1, 0.9],
                "multi_strategy": "multi_output_tree",
            },
            "vector leaves.*one_output_per_tree",
        ),
    ],
    ids=["dart", "gblinear", "objective", "categories", "vector leaves"],
)
def test_a_booster_we_would_get_wrong(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"the fault booster .*{message}"):
        read_forest(train(**params), name="fault")


def test_an_early_stopped_booster_must_be_cut() -> None:
    params = {"objective": "binary:logistic", "nthread": 1}
    booster = xgb.train(
        params,
        xgb.DMatrix(X, Y, nthread=1),
        50,
        evals=[(xgb.DMatrix(X, 1 - Y, nthread=1), "reversed")],
        early_stopping_rounds=2,
        verbose_eval=False,
    )
    with pytest.raises(UnsupportedModelError, match=r"early at round 1 of 3.*best_iteration \+ 1"):
        read_forest(booster)
    assert len(read_forest(booster[: booster.best_iteration + 1]).trees) == 1


def remade(trained: Trained, **changes: Any) -> bytes:  # noqa: ANN401 - any part of a model
    parts: dict[str, Any] = {
        "spec": trained.spec,
        "predictor": trained.heads,
        "calibration": trained.calibration,
        "novelty": trained.novelty,
        "windows": trained.windows,
    }
    return assemble(**(parts | changes))


def other_heads(heads: Heads) -> dict[str, Heads]:
    assert heads.modes is not None
    return {
        "objective 'multi:softprob', its head is": replace(heads, fault=heads.modes),
        "reads 3 features, the graph gives 80": replace(heads, fault=train()),
        "lead_time_shift .* each of the 3": replace(heads, lead_time_shift=(1.0,)),
    }


@pytest.mark.parametrize("which", [0, 1, 2])
def test_heads_that_do_not_fit_the_spec(trained: Trained, which: int) -> None:
    message, heads = list(other_heads(trained.heads).items())[which]
    with pytest.raises(UnsupportedModelError, match=message):
        remade(trained, predictor=heads)


def spec_changes(spec: ModelSpec) -> dict[str, ModelSpec]:
    return {
        "gives 2 columns, the spec names 3": replace(spec, modes=("a", "b", "c")),
        "not the calibrated threshold_margin": replace(spec, threshold_margin=2.0),
        "no feature is called 'a.mean'": replace(spec, features=("a.mean",)),
        "bytes of metadata": replace(spec, provenance={"log": "x" * 2_000_000}),
    }


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_specs_that_do_not_fit(trained: Trained, which: int) -> None:
    message, spec = list(spec_changes(trained.spec).items())[which]
    with pytest.raises(UnsupportedModelError, match=message):
        remade(trained, spec=spec)


def test_novelty_of_other_features(trained: Trained) -> None:
    with pytest.raises(UnsupportedModelError, match="novelty was fitted on 3 features"):
        remade(trained, novelty=Novelty.fit(X))


def test_windows_of_other_channels(trained: Trained) -> None:
    with pytest.raises(ChannelMismatchError, match="temperature, pressure"):
        remade(trained, windows=trained.windows[:, :, :3])


def test_no_windows_to_make_golden_ones_from(trained: Trained) -> None:
    with pytest.raises(UnsupportedModelError, match="at least one"):
        remade(trained, windows=trained.windows[:0])


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf)])
def test_calibration_that_does_not_rise(a: float, b: float) -> None:
    with pytest.raises(UnsupportedModelError, match="a must be positive"):
        Platt(a, b)


def test_derived_channels_are_named() -> None:
    with pytest.raises(UnsupportedModelError, match="'power' is derived"):
        FeatureGraph((Channel("power", "kW", Role.DERIVED),), 4, 60.0)


def test_too_many_players_for_an_exact_explanation() -> None:
    with pytest.raises(UnsupportedModelError, match="13 measured channels"):
        exact(13)


def test_too_many_players_for_the_memory_of_a_gateway() -> None:
    with pytest.raises(UnsupportedModelError, match=r"500 measured channels.*fewer features"):
        game(500, 7500)
