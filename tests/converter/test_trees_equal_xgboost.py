from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from spox import Tensor, argument, build

from foreshock_converter.trees import read_forest, tree_ensemble

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

FEATURES = 6
TRAINED_ON = 300


@dataclass(frozen=True)
class Recipe:
    """How to train a booster, printed by hypothesis when it finds one that converts wrongly."""

    objective: str
    outputs: int
    seed: int
    rounds: int
    params: tuple[tuple[str, object], ...]
    missing: float
    distinct: int

    def data(self) -> tuple[Float32, Float32]:
        rng = np.random.default_rng(self.seed)
        x = rng.normal(size=(TRAINED_ON, FEATURES)).round(1).astype(np.float32)
        x[:, 0] = rng.integers(0, self.distinct, TRAINED_ON)
        score = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=TRAINED_ON)
        x[rng.random(x.shape) < self.missing] = np.nan
        if self.objective == "binary:logistic":
            return x, (score > np.median(score)).astype(np.float32)
        if self.objective == "multi:softprob":
            cuts = np.quantile(score, np.linspace(0, 1, self.outputs + 1)[1:-1])
            return x, np.searchsorted(cuts, score).astype(np.float32)
        return x, (40 * score).astype(np.float32)

    def train(self) -> tuple[xgb.Booster, Float32]:
        x, y = self.data()
        params = {"objective": self.objective, "seed": self.seed, "nthread": 1, **dict(self.params)}
        if self.objective == "multi:softprob":
            params["num_class"] = self.outputs
        if self.objective == "reg:quantileerror":
            params["quantile_alpha"] = np.linspace(0.1, 0.9, self.outputs)
        return xgb.train(params, xgb.DMatrix(x, y, nthread=1), self.rounds), x


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    objective = draw(st.sampled_from(["binary:logistic", "multi:softprob", "reg:quantileerror"]))
    method = draw(st.sampled_from(["hist", "exact", "approx"]))
    quantile = objective == "reg:quantileerror"
    params = {
        # exact cannot do quantiles: their leaves are refreshed after the tree is grown
        "tree_method": "hist" if quantile and method == "exact" else method,
        "max_depth": draw(st.integers(1, 6)),
        "gamma": draw(st.sampled_from([0.0, 0.5, 5.0])),
        "min_child_weight": draw(st.sampled_from([0.0, 1.0, 1e6])),
        "num_parallel_tree": 1 if quantile else draw(st.integers(1, 2)),
        "max_bin": draw(st.sampled_from([4, 256])),
    }
    base_score = draw(st.none() | st.floats(0.05, 0.95))
    if base_score is not None:
        params["base_score"] = base_score
    return Recipe(
        objective=objective,
        outputs=1 if objective == "binary:logistic" else draw(st.integers(2, 4)),
        seed=draw(st.integers(0, 2**16)),
        rounds=draw(st.integers(1, 12)),
        params=tuple(params.items()),
        missing=draw(st.sampled_from([0.0, 0.2, 0.9])),
        distinct=draw(st.integers(1, 4)),
    )


def run_graph(boosters: Sequence[xgb.Booster], x: Float32) -> Float32:
    features = argument(Tensor(np.float32, ("N", FEATURES)))
    margins = tree_ensemble(features, [read_forest(booster) for booster in boosters])
    graph = build({"x": features}, {"margins": margins})
    session = ort.InferenceSession(graph.SerializeToString())
    result: Float32 = session.run(["margins"], {"x": x})[0]
    return result


def margins_of(booster: xgb.Booster, x: Float32) -> Float32:
    margins: Float32 = booster.predict(xgb.DMatrix(x, nthread=1), output_margin=True)
    return margins.reshape(len(x), -1)


def probes(x: Float32) -> Float32:
    """Training rows, whose values are the thresholds themselves, and rows that miss everything."""
    return np.concatenate([x, np.full((1, FEATURES), np.nan, np.float32), -x])


@settings(max_examples=40, deadline=None)
@given(recipe=recipes())
def test_any_booster_converts_exactly(recipe: Recipe) -> None:
    booster, x = recipe.train()
    rows = probes(x)
    want = margins_of(booster, rows)
    np.testing.assert_allclose(run_graph([booster], rows), want, rtol=1e-6, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(several=st.lists(recipes(), min_size=2, max_size=3))
def test_several_heads_share_one_ensemble(several: list[Recipe]) -> None:
    boosters = [recipe.train()[0] for recipe in several]
    rows = probes(several[0].data()[0])
    want = np.concatenate([margins_of(booster, rows) for booster in boosters], axis=1)
    np.testing.assert_allclose(run_graph(boosters, rows), want, rtol=1e-6, atol=1e-5)
