"""LightGBM's text files through onnxmltools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from spox import inline

from foreshock_converter.doors.brought import Estimator, log_nodes, log_of
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import lightgbm as lgb
    import numpy.typing as npt
    import onnx
    from spox import Var

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

CLASSIFIERS: Final = ("binary", "multiclass", "softmax")
OPSET: Final = 15
"""The newest that onnxmltools 1.16 writes."""
_MISSING_IS_NAN, _MISSING_IS_ZERO = 2, 1


def read(path: Path) -> Estimator:
    """Read a booster's text file.

    Raises:
        UnsupportedModelError: it is none, or one that does not convert.
    """
    import lightgbm as lgb  # noqa: PLC0415 - an extra of its own

    try:
        booster = lgb.Booster(model_file=str(path))
    except lgb.basic.LightGBMError as error:
        raise UnsupportedModelError(f"{path} is no LightGBM model: {error!s:.200}") from None
    return of_booster(booster, path.name)


def of_booster(booster: lgb.Booster, name: str) -> Estimator:
    """Return the estimator of a booster; errors call it `name`.

    Raises:
        UnsupportedModelError: a booster that does not convert, or no classifier.
    """
    text = booster.model_to_string()
    problem = next(_unsupported(text), None)
    if problem:
        raise UnsupportedModelError(f"the LightGBM model {name} {problem}")
    proto = _converted(booster, name)
    needs = _needs(text)

    def logits(features: Float32) -> Float64:
        shares = np.asarray(booster.predict(features.astype(np.float64), num_threads=1))
        pair = np.column_stack([1 - shares, shares]) if shares.ndim == 1 else shares
        return log_of(pair)

    def nodes(features: Var) -> Var:
        return log_nodes(inline(proto)(X=features)["probabilities"])

    return Estimator(
        kind=f"LightGBM {_objective(text)}, {booster.num_trees()} trees",
        classes=max(2, booster.num_model_per_iteration()),
        features=booster.num_feature(),
        logits=logits,
        nodes=nodes,
        needs=needs,
        names=tuple(booster.feature_name()),
        thresholds=_thresholds(text, booster.num_feature()),
        notes=(f"{len(needs)} features must be there for a score: it never saw them missing",)
        if needs
        else (),
    )


def _converted(booster: lgb.Booster, name: str) -> onnx.ModelProto:
    from onnxmltools import convert_lightgbm  # noqa: PLC0415 - an extra of its own
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    kind = [("X", FloatTensorType([None, booster.num_feature()]))]
    try:
        proto: onnx.ModelProto = convert_lightgbm(
            booster, initial_types=kind, target_opset=OPSET, zipmap=False
        )
    except Exception as error:  # noqa: BLE001 - whatever a third party's converter raises
        raise UnsupportedModelError(
            f"onnxmltools does not convert the LightGBM model {name}: {error!r:.300}"
        ) from None
    return _rounded_down(proto, booster.model_to_string())


def _rounded_down(proto: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """Put each threshold on the greatest float32 that is not above it.

    LightGBM compares float64 `x <= t`. onnxmltools rounds t to the nearest float32, and where that
    is above t, a feature of just this value goes the other way.
    """
    down: dict[tuple[int, float], float] = {}
    for feature, _, threshold in _splits(text):
        nearest = np.float32(threshold)
        below = np.nextafter(nearest, np.float32(-np.inf))
        floor = float(below if float(nearest) > threshold else nearest)
        key = (feature, float(nearest))
        down[key] = min(floor, down.get(key, floor))
    for node in proto.graph.node:
        told = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_values" in told:
            pairs = zip(told["nodes_featureids"].ints, told["nodes_values"].floats, strict=True)
            told["nodes_values"].floats[:] = [down.get(pair, pair[1]) for pair in pairs]
    return proto


def _unsupported(text: str) -> Iterator[str]:
    objective = _objective(text)
    if objective not in CLASSIFIERS:
        yield (
            f"has the objective {objective!r} and knows no healthy class: bring a classifier "
            f"({', '.join(CLASSIFIERS)})"
        )
    if any(count != "0" for count in _values(text, "num_cat")):
        yield "splits on categories: one-hot encode them as numbers before training"
    if any(linear != "0" for linear in _values(text, "is_linear")):
        yield "has linear leaves: train it with linear_tree=false"
    if any(_missing(kind) == _MISSING_IS_ZERO for _, kind, _ in _splits(text)):
        yield "takes zeros as missing: train it with zero_as_missing=false"


def _needs(text: str) -> tuple[int, ...]:
    """Return the features that some split never saw missing: there, LightGBM takes NaN as zero."""
    return tuple(sorted({f for f, kind, _ in _splits(text) if _missing(kind) != _MISSING_IS_NAN}))


def _thresholds(text: str, features: int) -> tuple[Float32, ...]:
    found: list[set[float]] = [set() for _ in range(features)]
    for feature, _, threshold in _splits(text):
        found[feature].add(threshold)
    return tuple(np.array(sorted(values), np.float32) for values in found)


def _splits(text: str) -> Iterator[tuple[int, int, float]]:
    """Return feature, decision type and threshold of every split."""
    lists = [_values(text, key) for key in ("split_feature", "decision_type", "threshold")]
    for features, kinds, thresholds in zip(*lists, strict=True):
        for row in zip(features.split(), kinds.split(), thresholds.split(), strict=True):
            yield int(row[0]), int(row[1]), float(row[2])


def _missing(decision_type: int) -> int:
    return decision_type >> 2 & 3


def _objective(text: str) -> str:
    return next(_values(text, "objective"), "unknown").partition(" ")[0]


def _values(text: str, key: str) -> Iterator[str]:
    lines = (line.partition("=") for line in text.splitlines())
    return (value for name, equals, value in lines if equals and name == key)
