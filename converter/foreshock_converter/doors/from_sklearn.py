"""scikit-learn estimators and pipelines through skl2onnx, in float64 where it can."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, argument, build, inline

from foreshock_converter.doors.brought import Estimator, log_nodes, log_of
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    import onnx
    from spox import Var

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

OPSETS: Final = {"": 21, "ai.onnx.ml": 3}
"""What skl2onnx 1.20 writes and a gateway knows."""
ALIKE: Final = 1e-6
"""Probabilities this near are the same: what summing in float32 leaves."""
PROBES: Final = 256


def of_estimator(estimator: Any, name: str, rows: Float32) -> Estimator:  # noqa: ANN401 - a third party's
    """Return a fitted classifier; `rows` float32[N, F'] are features like those it reads.

    Raises:
        UnsupportedModelError: it is none, or skl2onnx does not convert it.
    """
    _refuse(estimator, name)
    names = tuple(map(str, getattr(estimator, "feature_names_in_", ())))

    def probabilities(features: Float32) -> Float64:
        return _probabilities(estimator, names, features)

    width, probes = int(estimator.n_features_in_), rows[:PROBES]
    if rows.shape[1] != width:
        # Admission compares the widths and tells both; nothing can be tried out before that.
        probes = np.zeros((1, width), np.float32)
    made = _converted(estimator, name, names, probes, probabilities)
    missing = _reads_missing(made, probes, probabilities)
    note = "a window that lacks a feature has no score: " + (
        "the estimator cannot read missing values"
        if missing is None
        else "skl2onnx reads missing values otherwise than the estimator"
    )
    return Estimator(
        kind=f"scikit-learn {_told(estimator)}",
        classes=len(estimator.classes_),
        features=width,
        logits=lambda features: log_of(probabilities(features)),
        nodes=lambda features: log_nodes(made.nodes(features)),
        needs=() if missing else tuple(range(width)),
        names=names,
        notes=() if missing else (note,),
    )


@dataclass(frozen=True, slots=True)
class _Converted:
    """An estimator as nodes that compute in `dtype`; `names` are its columns when it knows them."""

    proto: onnx.ModelProto
    dtype: type[np.floating[Any]]
    names: tuple[str, ...]
    width: int

    def nodes(self, features: Var) -> Var:
        """Return probabilities [N, K]."""
        wide = op.cast(features, to=self.dtype)
        columns = {
            name: op.gather(wide, op.const(np.array([i])), axis=1)
            for i, name in enumerate(self.names)
        }
        return inline(self.proto)(**(columns or {"X": wide}))["probabilities"]

    def run(self, features: Float32) -> Float64:
        """Return what the nodes give, float64[N, K]."""
        import onnxruntime as ort  # noqa: PLC0415 - loaded when it is needed

        x = argument(Tensor(np.float32, ("N", self.width)))
        graph = build({"x": x}, {"p": op.cast(self.nodes(x), to=np.float64)})
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = ort.InferenceSession(graph.SerializeToString(), options)
        found: Float64 = session.run(["p"], {"x": features})[0]
        return found


def _converted(
    estimator: Any,  # noqa: ANN401 - a third party's
    name: str,
    names: tuple[str, ...],
    probes: Float32,
    probabilities: Callable[[Float32], Float64],
) -> _Converted:
    """Convert in float64 where that runs and agrees, or else in float32."""
    complete = probes[np.isfinite(probes).all(axis=1)]
    want = probabilities(complete) if len(complete) else None
    found, problem = None, None
    for dtype in (np.float64, np.float32):
        try:
            made = _Converted(_proto(estimator, names, dtype), dtype, names, probes.shape[1])
            have = made.run(complete)
        except Exception as error:  # noqa: BLE001 - whatever a third party's converter raises
            problem = error.__cause__ or error
            continue
        found = made
        if want is None or np.abs(have - want).max() < ALIKE:
            break
    if found is None:
        raise UnsupportedModelError(
            f"skl2onnx does not convert {name} ({_told(estimator)}): "
            f"{' '.join(str(problem).split()):.200}; train XGBoost or LightGBM, which "
            "need no skl2onnx, or a forest"
        )
    return found


def _proto(
    estimator: Any,  # noqa: ANN401 - a third party's
    names: tuple[str, ...],
    dtype: type[np.floating[Any]],
) -> onnx.ModelProto:
    from skl2onnx import to_onnx  # noqa: PLC0415 - an extra of its own
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType  # noqa: PLC0415

    kind = DoubleTensorType if dtype is np.float64 else FloatTensorType
    width = int(estimator.n_features_in_)
    inputs = [(name, kind([None, 1])) for name in names] or [("X", kind([None, width]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto: onnx.ModelProto = to_onnx(
            estimator, initial_types=inputs, options={"zipmap": False}, target_opset=OPSETS
        )
    return proto


def _refuse(estimator: Any, name: str) -> None:  # noqa: ANN401 - a third party's
    told = type(estimator).__name__
    if not hasattr(estimator, "predict_proba"):
        raise UnsupportedModelError(
            f"{name} is a {told} and gives no probabilities: bring a classifier, or wrap it in "
            "CalibratedClassifierCV"
        )
    if not hasattr(estimator, "classes_") or not hasattr(estimator, "n_features_in_"):
        raise UnsupportedModelError(f"{name} is a {told} that was not fitted on a plain table")
    if np.ndim(estimator.classes_[0]):
        raise UnsupportedModelError(f"{name} has several targets: bring one classifier")
    if any(np.isinf(tree.threshold).any() for tree in _trees(estimator)):
        raise UnsupportedModelError(
            f"{name} splits on whether a value is missing, and skl2onnx never comes to an end of "
            "it: fill missing values before the trees (SimpleImputer), or train XGBoost"
        )


def _trees(thing: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever is inside an estimator
    """Return every tree inside, however deep: in pipelines, forests, calibrations, votes."""
    if isinstance(thing, list | tuple):
        inside = list(thing)
    elif isinstance(thing, np.ndarray) and thing.dtype == object:
        inside = list(thing.flat)
    elif type(thing).__module__.startswith("sklearn."):
        if hasattr(thing, "tree_"):
            yield thing.tree_
            return
        inside = list(getattr(thing, "__dict__", {}).values())
    else:
        return
    for part in inside:
        yield from _trees(part)


def _probabilities(estimator: Any, names: tuple[str, ...], features: Float32) -> Float64:  # noqa: ANN401
    import pandas as pd  # noqa: PLC0415 - of the trainer

    wide = features.astype(np.float64)
    table = pd.DataFrame(wide, columns=list(names)) if names else wide
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Float64 = np.asarray(estimator.predict_proba(table), np.float64)
    return found


def _reads_missing(
    made: _Converted, probes: Float32, probabilities: Callable[[Float32], Float64]
) -> bool | None:
    """Whether estimator and nodes read missing values alike; None when the estimator cannot."""
    holes = np.where(
        np.random.default_rng(0).random(probes.shape) < 0.2,  # noqa: PLR2004 - a fifth
        np.float32(np.nan),
        probes,
    )
    holes = np.concatenate([holes, np.full_like(probes[:1], np.nan)])
    try:
        want = probabilities(holes)
    except ValueError:
        return None
    have = made.run(holes)
    return bool(np.nanmax(np.abs(have - want)) < ALIKE and not np.isnan(have).any())


def _told(estimator: Any) -> str:  # noqa: ANN401 - a third party's
    steps = getattr(estimator, "steps", None)
    inside = " -> ".join(type(step).__name__ for _, step in steps) if steps else ""
    return f"{type(estimator).__name__}({inside})" if inside else type(estimator).__name__
