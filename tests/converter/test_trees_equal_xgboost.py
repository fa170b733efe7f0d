from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from spox import Tensor, argument, build

from foreshock_converter.trees import read_forest, snap_thresholds, tree_ensemble
from tests.converter.effort import examples

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
    scale: float
    stops_early: bool

    def data(self) -> tuple[Float32, Float32]:
        rng = np.random.default_rng(self.seed)
        x = rng.normal(size=(TRAINED_ON, FEATURES)).round(1).astype(np.float32)
        x[:, 0] = rng.integers(0, self.distinct, TRAINED_ON)
        score = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=TRAINED_ON)
        x[:, 3] = 61.2
        x[:, 4:] *= np.float32(self.scale)
        # What is missing says something, so that the default direction is learnt to both sides.
        x[rng.random(x.shape) < self.missing] = np.nan
        x[score > np.quantile(score, 0.8), 5] = np.nan
        return x, self.label(score)

    def label(self, score: npt.NDArray[np.floating]) -> Float32:
        if self.objective.startswith("binary"):
            return np.where(score > np.median(score), 1, 0).astype(np.float32)
        if self.objective.startswith("multi"):
            cuts = np.quantile(score, np.linspace(0, 1, self.outputs + 1)[1:-1])
            return np.searchsorted(cuts, score).astype(np.float32)
        return (40 * score).astype(np.float32)

    def matrix(self, x: Float32, y: Float32) -> xgb.DMatrix:
        if self.objective != "survival:aft":
            return xgb.DMatrix(x, y, nthread=1)
        hours = np.exp(np.clip(y / 40, -3, 3))
        data = xgb.DMatrix(x, nthread=1)
        data.set_float_info("label_lower_bound", hours)
        # Every third machine has not failed yet.
        censored = np.where(np.arange(len(x)) % 3 == 0, np.inf, hours).astype(np.float32)
        data.set_float_info("label_upper_bound", censored)
        return data

    def train(self) -> tuple[xgb.Booster, Float32]:
        x, y = self.data()
        params = {"objective": self.objective, "seed": self.seed, "nthread": 1, **dict(self.params)}
        if self.objective.startswith("multi"):
            params["num_class"] = self.outputs
        if self.objective == "reg:quantileerror":
            params["quantile_alpha"] = np.linspace(0.1, 0.9, self.outputs)
        learn, judge = self.matrix(x[::2], y[::2]), self.matrix(x[1::2], y[1::2])
        booster = xgb.train(
            params,
            learn,
            self.rounds,
            evals=[(judge, "judge")],
            early_stopping_rounds=2 if self.stops_early else None,
            verbose_eval=False,
        )
        return (booster[: booster.best_iteration + 1] if self.stops_early else booster), x


OBJECTIVES = {
    "binary:logistic": 1,
    "binary:logitraw": 1,
    "multi:softprob": 4,
    "multi:softmax": 4,
    "reg:absoluteerror": 1,
    "reg:quantileerror": 4,
    "reg:squarederror": 1,
    "survival:aft": 1,
}
"""What is converted, and how many outputs it may have at most."""
REFRESHED = ("reg:absoluteerror", "reg:quantileerror")
"""Objectives whose leaves are refreshed afterwards, which tree_method=exact cannot do."""


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    objective = draw(st.sampled_from(sorted(OBJECTIVES)))
    method = draw(st.sampled_from(["hist", "exact", "approx"]))
    refreshed = objective in REFRESHED
    params: dict[str, object] = {
        "tree_method": "hist" if refreshed and method == "exact" else method,
        "max_depth": draw(st.integers(1, 6)),
        "gamma": draw(st.sampled_from([0.0, 0.5, 5.0])),
        "min_child_weight": draw(st.sampled_from([0.0, 1.0, 1e6])),
        "num_parallel_tree": 1 if refreshed else draw(st.integers(1, 2)),
        "max_bin": draw(st.sampled_from([4, 256])),
    }
    base_score = draw(st.none() | st.floats(0.05, 0.95))
    if base_score is not None:
        params["base_score"] = base_score
    if objective == "survival:aft":
        params["aft_loss_distribution"] = draw(st.sampled_from(["normal", "logistic", "extreme"]))
        params["aft_loss_distribution_scale"] = draw(st.floats(0.3, 3))
    most = OBJECTIVES[objective]
    return Recipe(
        objective=objective,
        outputs=1 if most == 1 else draw(st.integers(2, most)),
        seed=draw(st.integers(0, 2**16)),
        rounds=draw(st.integers(1, 12)),
        params=tuple(params.items()),
        missing=draw(st.sampled_from([0.0, 0.2, 0.9])),
        distinct=draw(st.integers(1, 4)),
        scale=draw(st.sampled_from([1.0, 1e-42, 1e-30, 1e30, 3e37])),
        stops_early=draw(st.booleans()),
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
    largest = np.finfo(np.float32).max * np.sign(x)
    missing = np.full((1, FEATURES), np.nan, np.float32)
    return np.concatenate([x, missing, -x, np.zeros_like(missing), largest])


def decide(margins: Float32, limit: Float32) -> npt.NDArray[np.bool_]:
    return margins >= limit


def limits_between(margins: Float32) -> Float32:
    """Per column, a limit in the middle of the widest gap between neighbouring margins."""
    ordered = np.sort(margins, axis=0)
    widest = np.diff(ordered, axis=0).argmax(axis=0)[None]
    pairs = (np.take_along_axis(ordered, widest + i, axis=0) for i in (0, 1))
    limits: Float32 = np.mean(list(pairs), axis=0)
    return limits


def assert_alike(have: Float32, want: Float32) -> None:
    # Float32 sums in another order differ by some ulps of the largest partial sum.
    np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-6 * max(10.0, np.abs(want).max()))
    limits = limits_between(want)
    moves = np.ptp(want, axis=0) > 1e-3
    np.testing.assert_array_equal(decide(have, limits)[:, moves], decide(want, limits)[:, moves])


@settings(max_examples=examples(60))
@given(recipe=recipes())
def test_any_booster_converts_exactly(recipe: Recipe) -> None:
    booster, x = recipe.train()
    rows = probes(x)
    assert_alike(run_graph([booster], rows), margins_of(booster, rows))


@settings(max_examples=examples(10))
@given(several=st.lists(recipes(), min_size=2, max_size=3))
def test_several_heads_share_one_ensemble(several: list[Recipe]) -> None:
    boosters = [recipe.train()[0] for recipe in several]
    rows = probes(several[0].data()[0])
    want = np.concatenate([margins_of(booster, rows) for booster in boosters], axis=1)
    assert_alike(run_graph(boosters, rows), want)


@settings(max_examples=examples(15))
@given(recipe=recipes())
def test_snapped_boosters_convert_as_exactly(recipe: Recipe) -> None:
    booster, x = recipe.train()
    snapped, rows = snap_thresholds(booster, x), probes(x)
    assert margins_of(snapped, x).tobytes() == margins_of(booster, x).tobytes()
    assert_alike(run_graph([snapped], rows), margins_of(snapped, rows))
