"""XGBoost's own files (.json, .ubj) through our exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op
import xgboost as xgb

from foreshock_converter.blocks import scalar
from foreshock_converter.doors.brought import Estimator
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.trees import read_forest, thresholds_by_feature, tree_ensemble

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from spox import Var

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

CLASSIFIERS: Final = frozenset(
    {"binary:logistic", "binary:logitraw", "multi:softprob", "multi:softmax"}
)


def read(path: Path) -> Estimator:
    """Read a booster's file.

    Raises:
        UnsupportedModelError: it is none, or one that we do not convert.
    """
    booster = xgb.Booster()
    try:
        booster.load_model(path)
    except xgb.core.XGBoostError as error:
        raise UnsupportedModelError(f"{path} is no XGBoost model: {error!s:.200}") from None
    return of_booster(booster, path.name)


def of_booster(booster: xgb.Booster, name: str) -> Estimator:
    """Return the estimator of a booster; errors call it `name`.

    Raises:
        UnsupportedModelError: a booster that we do not convert, or no classifier.
    """
    forest = read_forest(booster, name=name)
    if forest.objective not in CLASSIFIERS:
        raise UnsupportedModelError(
            f"{name} has the objective {forest.objective!r} and knows no healthy class: bring a "
            f"classifier ({', '.join(sorted(CLASSIFIERS))})"
        )
    binary = forest.targets == 1

    def logits(features: Float32) -> Float64:
        data = xgb.DMatrix(features, nthread=1, feature_names=booster.feature_names)
        margins = booster.predict(data, output_margin=True).astype(np.float64)
        rows: Float64 = margins.reshape(len(features), -1)
        return np.hstack([np.zeros_like(rows), rows]) if binary else rows

    def nodes(features: Var) -> Var:
        margins = tree_ensemble(features, [forest])
        return op.concat([op.mul(margins, scalar(0)), margins], axis=1) if binary else margins

    return Estimator(
        kind=f"XGBoost {forest.objective}, {len(forest.trees)} trees",
        classes=2 if binary else forest.targets,
        features=forest.features,
        logits=logits,
        nodes=nodes,
        names=tuple(booster.feature_names or ()),
        thresholds=thresholds_by_feature([forest]),
    )
