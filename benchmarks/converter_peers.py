"""The ways a window is usually scored: features in NumPy, then trees by somebody else's runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnxruntime as ort
import xgboost as xgb

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]
    Score = Callable[[Float32], object]

NEWEST_OPSET: Final = 15
"""What onnxmltools 1.16 can write."""


def numpy_features(windows: Float32, period_h: float) -> Float32:
    """Compute the same features as the graph, vectorised over windows and channels."""
    x = windows.transpose(0, 2, 1)
    length = x.shape[-1]
    held = np.isfinite(x)
    value = np.where(held, x, np.float32(0))
    count = held.sum(axis=-1, dtype=np.float32)
    mean = value.sum(axis=-1) / count
    centred = np.where(held, x - mean[..., None], np.float32(0))
    variance = (centred**2).sum(axis=-1) / count
    rms = np.sqrt((value**2).sum(axis=-1) / count)
    moves = variance > 1e-10 * rms**2
    std = np.sqrt(variance)
    z = centred / np.where(moves, std, np.float32(np.nan))[..., None]
    low = np.where(held, x, np.inf).min(axis=-1)
    high = np.where(held, x, -np.inf).max(axis=-1)
    last = np.take_along_axis(value, (length - 1 - held[..., ::-1].argmax(-1))[..., None], -1)
    ticks = np.arange(length, dtype=np.float32)
    centred_ticks = np.where(held, ticks - ((held * ticks).sum(-1) / count)[..., None], 0)
    slope = (centred_ticks * centred).sum(-1) / (centred_ticks**2).sum(-1) / period_h
    pairs = held[..., :-1] & held[..., 1:]
    both = pairs.sum(axis=-1)
    products = z[..., :-1] * z[..., 1:] * pairs
    lag1 = products.sum(-1) / both
    crossings = (products < -1e-4).sum(-1) + 0 * z[..., 0]  # noqa: PLR2004 - the graph's limit
    roughness = (np.abs(np.diff(value)) * pairs).sum(-1) / both
    quarter = length // 4
    early = value[..., :quarter].sum(-1) / held[..., :quarter].sum(-1)
    late = value[..., -quarter:].sum(-1) / held[..., -quarter:].sum(-1)
    square = z * z
    columns = [
        *(mean, std, low, high, last[..., 0], slope, rms, high - low),
        *((square * z).sum(-1) / count, (square * square).sum(-1) / count),
        *(np.maximum(np.abs(low), np.abs(high)) / rms, lag1, crossings, roughness, late - early),
        length - count,
    ]
    features = np.stack(columns, axis=-1).reshape(len(x), -1).astype(np.float32)
    return np.where(np.isfinite(features), features, np.float32(np.nan))


def numpy_and_xgboost(parts: Trained, windows: Float32) -> list[npt.NDArray[np.floating]]:
    """Score windows the usual way: features in Python, then each booster."""
    features = numpy_features(windows, parts.spec.period_s / 3600)
    heads = parts.heads
    boosters = [head for head in (heads.fault, heads.modes, heads.lead_time) if head]
    fault, modes, lead_time = (booster.inplace_predict(features) for booster in boosters)
    return [fault, modes, np.sort(lead_time, axis=1)]


def sklearn_pipeline(parts: Trained) -> Score:
    """Return the same heads as scikit-learn pipelines: a transformer, then an estimator each."""
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - slow to import
    from sklearn.preprocessing import FunctionTransformer  # noqa: PLC0415

    period_h = parts.spec.period_s / 3600
    transformer = FunctionTransformer(numpy_features, kw_args={"period_h": period_h})
    fault, modes, lead_time = (
        make_pipeline(transformer, _estimator(kind, booster))
        for kind, booster in zip(
            (xgb.XGBClassifier, xgb.XGBClassifier, xgb.XGBRegressor), boosters(parts), strict=True
        )
    )

    def score(windows: Float32) -> object:
        found = fault.predict_proba(windows), modes.predict_proba(windows)
        return [*found, np.sort(lead_time.predict(windows), axis=1)]

    return score


def onnxmltools_graph(parts: Trained) -> Score:
    """Return the same trees as onnxmltools converts them, behind features in NumPy.

    Its lead times are wrong (every tree lands on the first quantile); they take as long.
    """
    period_h = parts.spec.period_s / 3600
    sessions = [converted(booster) for booster in boosters(parts)]

    def score(windows: Float32) -> object:
        features = numpy_features(windows, period_h)
        return [session.run(None, {"x": features}) for session in sessions]

    return score


def boosters(parts: Trained) -> list[xgb.Booster]:
    """Return the three heads, each on one thread."""
    heads = parts.heads
    assert heads.modes is not None  # noqa: S101 - the sample trains all heads
    assert heads.lead_time is not None  # noqa: S101
    found = [heads.fault, heads.modes, heads.lead_time]
    for booster in found:
        booster.set_param({"nthread": 1})
    return found


def one_thread() -> ort.SessionOptions:
    """Return options of a session that does not spread its work."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _estimator(kind: type[Any], booster: xgb.Booster) -> Any:  # noqa: ANN401 - sklearn is untyped
    estimator = kind(n_jobs=1)
    estimator.load_model(bytearray(booster.save_raw("json")))
    return estimator


def converted(booster: xgb.Booster) -> ort.InferenceSession:
    """Return a booster as onnxmltools converts it; its input is `x` float32[N, F]."""
    from onnxmltools import convert_xgboost  # noqa: PLC0415 - slow to import
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    types = [("x", FloatTensorType([None, booster.num_features()]))]
    graph = convert_xgboost(booster, initial_types=types, target_opset=NEWEST_OPSET)
    return ort.InferenceSession(
        graph.SerializeToString(), one_thread(), providers=["CPUExecutionProvider"]
    )
