"""Estimators of other makers, trained on the same rows, and a way to bring them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import joblib
import lightgbm as lgb
import numpy as np
import skops.io
import xgboost as xgb
from click.testing import CliRunner
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from foreshock_converter.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    from click.testing import Result

    Float32 = npt.NDArray[np.float32]
    Predict = Callable[[Float32], npt.NDArray[Any]]

CHANNELS = ("torque", "speed", "heat")
REQUEST = {"name": "brought", "period_s": 60, "horizon_h": 48, "threshold": 0.4}


def rows(seed: int, count: int = 600) -> Float32:
    """Return complete table rows float32[N, 3]."""
    return np.random.default_rng(seed).normal(size=(count, len(CHANNELS))).astype(np.float32)


def labels(x: Float32, classes: int) -> npt.NDArray[np.int64]:
    """Return the class of each row: 0 is healthy, faults of three classes differ by heat."""
    failing = (x[:, 0] + 0.5 * x[:, 1] * x[:, 2] > 1).astype(np.int64)
    return failing + failing * (x[:, 2] > 0) if classes == 3 else failing


@dataclass(frozen=True)
class Bench:
    """A folder with a request and windows beside what is brought."""

    folder: Path
    classes: int = 2

    def bring(self, file: Path, *options: str, **entries: object) -> Result:
        """Run `foreshock convert import` on the file; `entries` change the request."""
        known = ["healthy", "bearing", "winding"] if self.classes == 3 else ["healthy", "failing"]
        asked = REQUEST | {"classes": known, "features": list(CHANNELS)} | entries
        toml = [f"{key} = {json.dumps(value)}" for key, value in asked.items()]
        request, windows = self.folder / "request.toml", self.folder / "rows.npy"
        request.write_text("\n".join([*toml, "[channels]", *(f'{c} = "1"' for c in CHANNELS)]))
        np.save(windows, rows(1)[:, None, :])
        told = ["--request", request, "--windows", windows, "--out", self.out, *options]
        return CliRunner().invoke(cli, ["import", str(file), *map(str, told)])

    @property
    def out(self) -> Path:
        """The model file to be."""
        return self.folder / "out.onnx"


def xgboost_file(folder: Path, classes: int) -> tuple[Path, Predict]:
    many = {"objective": "multi:softprob", "num_class": classes}
    kind = many if classes > 2 else {"objective": "binary:logistic"}
    x = rows(0)
    told = xgb.DMatrix(x, labels(x, classes))
    booster = xgb.train({**kind, "max_depth": 3, "nthread": 1}, told, num_boost_round=10)
    file = folder / ("model.json" if classes > 2 else "model.ubj")
    booster.save_model(file)
    return file, lambda unseen: booster.predict(xgb.DMatrix(unseen))


def lightgbm_file(folder: Path, classes: int) -> tuple[Path, Predict]:
    many = {"objective": "multiclass", "num_class": classes}
    kind = many if classes > 2 else {"objective": "binary"}
    x = rows(0)
    told = lgb.Dataset(x, labels(x, classes))
    booster = lgb.train({**kind, "verbose": -1, "num_threads": 1}, told, num_boost_round=10)
    booster.save_model(folder / "model.txt")
    return folder / "model.txt", lambda unseen: np.asarray(booster.predict(unseen))


def pipeline_file(folder: Path, classes: int) -> tuple[Path, Predict]:
    x = rows(0)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, labels(x, classes))
    skops.io.dump(pipeline, folder / "model.skops")
    return folder / "model.skops", pipeline.predict_proba


def forest_file(folder: Path, classes: int) -> tuple[Path, Predict]:
    x = rows(0)
    forest = RandomForestClassifier(20, random_state=0).fit(x, labels(x, classes))
    joblib.dump(forest, folder / "model.joblib")
    return folder / "model.joblib", forest.predict_proba
