"""A model has the features that it names; a table row is a window of one sample."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import xgboost as xgb

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import FeatureGraph
from foreshock_converter.heads import Heads, Novelty
from foreshock_converter.parity import parity
from foreshock_converter.sample import CHANNELS, synthetic_windows, train
from foreshock_converter.stress import stressed
from foreshock_converter.trees import snap_thresholds
from foreshock_wire.derived import parse_derived
from foreshock_wire.model import Model
from foreshock_wire.spec import Channel, ModelSpec, Role

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

COUNTED = (*CHANNELS, Channel("errors", "1", Role.CONTEXT))


def graph(*choice: str, length: int = 48) -> FeatureGraph:
    return FeatureGraph(COUNTED, length, 60.0, choice=choice)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (("rms",), [f"{channel.id}.rms" for channel in CHANNELS]),
        (("torque.std", "vibration.rms"), ["vibration.rms", "torque.std"]),
        (
            ("torque.std", "torque.rms", "vibration.rms", "errors.sum"),
            ["vibration.rms", "torque.std", "torque.rms", "errors.sum"],
        ),
    ],
)
def test_it_is_named_by_feature_or_column(choice: tuple[str, ...], wanted: list[str]) -> None:
    assert list(graph(*choice).names) == wanted


def test_what_is_chosen_has_the_bits_it_has_among_all() -> None:
    windows = stressed(synthetic_windows(20, 6, 48)[0])
    whole = graph("time", "context", "spectral")
    everything = dict(zip(whole.names, whole.extract(windows).T, strict=True))
    for choice in [("rms", "torque.band1"), ("errors.last", "pressure.kurtosis"), ("last",)]:
        some = graph(*choice)
        for name, column in zip(some.names, some.extract(windows).T, strict=True):
            np.testing.assert_array_equal(column, everything[name], name)


def test_what_is_not_chosen_is_not_in_the_graph() -> None:
    def nodes(*choice: str) -> int:
        parts = train(length=24, choice=choice)
        data = assemble(
            parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
        )
        assert parity(data, parts.heads, parts.calibration, parts.windows[:20]).ok
        return len(onnx.load_from_string(data).graph.node)

    assert nodes("mean", "std") < nodes("time") - 20 < nodes("time", "spectral") - 40


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("rmsd",), r"no feature is called 'rmsd': choose a group \(context, time, spectral"),
        (("time", "speed.rms"), "no feature is called 'speed.rms'"),
        (("errors.rms",), "no feature is called 'errors.rms'"),
        (("envelope0",), "'envelope0' needs 64 samples, the window has 48"),
        (("errors.sum",), "context alone has no sensor"),
        ((), "context alone has no sensor"),
    ],
)
def test_a_choice_that_cannot_be_is_named(choice: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        graph(*choice)


def test_a_window_of_one_sample_has_what_one_sample_says() -> None:
    row = graph("time", "context", "spectral", "envelope", length=1)
    assert row.names == tuple(f"{channel.id}.last" for channel in COUNTED)
    windows = stressed(synthetic_windows(10, 6, 1)[0])
    wanted = np.where(np.isfinite(windows), windows, np.float32(np.nan))[:, 0]
    np.testing.assert_array_equal(row.extract(windows), wanted)


TABLE = (
    Channel("air", "K"),
    Channel("process", "K"),
    Channel("speed", "rpm"),
    Channel("torque", "N.m"),
    Channel("wear", "min"),
    Channel("grade", "1", Role.CONTEXT),
)
DERIVED = (
    parse_derived("power=torque*speed*0.10471976:W"),
    parse_derived("warming=process - air:K"),
    parse_derived("strain=wear*torque:min.N.m"),
)


def ai4i() -> tuple[Float32, Float32]:
    """Return the rows float32[N, 1, 6] and whether the machine failed float32[N]."""
    path = Path(os.environ["FORESHOCK_DATA"]) / "ai4i2020" / "ai4i2020.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [[float(value) for value in list(row.values())[3:8]] for row in rows]
    grade = ["LMH".index(row["Type"]) for row in rows]
    table = np.column_stack([np.array(measured), grade]).astype(np.float32)
    return table[:, None, :], np.array([row["Machine failure"] == "1" for row in rows], np.float32)


def f1_of(decided: npt.NDArray[np.bool_], failed: Float32) -> float:
    return float(2 * (decided & (failed == 1)).sum() / (decided.sum() + failed.sum()))


@pytest.mark.needs("dataset:ai4i2020")
def test_a_table_of_real_machines_becomes_a_model_that_knows_its_physics() -> None:
    windows, failed = ai4i()
    assert len(windows) == 10_000
    train_rows = np.arange(len(windows)) % 5 != 0
    scores = {}
    for name, derived in [("raw", ()), ("derived", DERIVED)]:
        columns = FeatureGraph(TABLE, 1, 60.0, derived)
        features = columns.extract(windows)
        data = xgb.DMatrix(features[train_rows], failed[train_rows], nthread=1)
        params = {"max_depth": 5, "eta": 0.2, "tree_method": "exact", "nthread": 1}
        booster = xgb.train(params | {"objective": "binary:logistic"}, data, 80)
        heads = Heads(snap_thresholds(booster, features[train_rows]))
        calibration, novelty = Platt(), Novelty.fit(features[failed == 0])
        model_spec = table_spec(columns, windows[failed == 0][0])
        file = assemble(model_spec, heads, calibration, novelty, windows=windows[train_rows])
        report = parity(file, heads, calibration, windows[~train_rows])
        assert report.ok, report
        model = Model.load(file)
        scores[name] = f1_of(model.run(windows[~train_rows]).margin >= 0, failed[~train_rows])
    assert len(model.spec.features) == len(TABLE) + len(DERIVED)
    assert scores["derived"] > max(0.8, scores["raw"] + 0.03)
    outputs = model.run(windows[failed == 1][:20], explain=True)
    start = model.spec.baseline[None].repeat(20, axis=0)
    start[:, :, -1] = windows[failed == 1][:20, :, -1]
    gap = outputs.margin - model.run(start).margin
    np.testing.assert_allclose(outputs.shapley.sum(axis=1), gap, rtol=0, atol=1e-5)


def table_spec(columns: FeatureGraph, baseline: Float32) -> ModelSpec:
    return ModelSpec(
        name="milling",
        channels=columns.channels,
        derived=columns.derived,
        period_s=columns.period_s,
        length=1,
        stride=1,
        horizon_h=1.0,
        threshold=0.5,
        threshold_margin=0.0,
        features=columns.names,
        modes=(),
        lead_time_quantiles=(),
        baseline=baseline,
    )
