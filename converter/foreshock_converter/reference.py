"""What travels in the file beside the graph: golden windows and reference histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.stress import STRESSES
from foreshock_wire.spec import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_converter.features import FeatureGraph
    from foreshock_converter.heads import Novelty

    Float32 = npt.NDArray[np.float32]

BINS: Final = 10
CANDIDATES: Final = 64
GOLDEN: Final = (
    "untouched",
    "untouched",
    "untouched",
    "drop_outs",
    "lost_channel",
    "infinite",
    "stuck",
    "all_missing",
)
"""The stresses of the golden windows, one window each."""


def golden_windows(windows: Float32, graph: FeatureGraph, thresholds: Sequence[Float32]) -> Float32:
    """Return one window per entry of `GOLDEN`, made from `windows` float32[N, T, C].

    Each is the candidate whose features keep furthest from every threshold: an honest device whose
    last bit differs must still repeat its outputs.

    Raises:
        UnsupportedModelError: there are no windows.
    """
    if not len(windows):
        raise UnsupportedModelError("no windows to make golden ones from: give at least one")
    spread = np.unique(np.linspace(0, len(windows) - 1, CANDIDATES * len(GOLDEN)).astype(int))
    shares = [windows[spread[i :: len(GOLDEN)]] for i in range(len(GOLDEN))]
    return np.stack(
        [
            _clearest(STRESSES[name](share if len(share) else windows[:1]), graph, thresholds)
            for name, share in zip(GOLDEN, shares, strict=True)
        ]
    )


def baseline_window(
    windows: Float32, features: Float32, healthy: npt.NDArray[np.bool_], novelty: Novelty
) -> Float32 | None:
    """Return the real, complete, healthy window float32[T, C] nearest to the median one.

    Args:
        windows: float32[N, T, C].
        features: float32[N, F] of them.
        healthy: bool[N].
        novelty: median and scale of healthy features.

    Returns:
        The window; None when no healthy one is complete.
    """
    rows = np.flatnonzero(healthy)
    used = novelty.used
    distance = (features[rows][:, used] - novelty.median[used]) / novelty.scale[used]
    spread = np.nan_to_num(np.square(distance)).sum(axis=1)
    held = np.isfinite(distance).sum(axis=1)
    # Windows may lie on disk: from the nearest on they are looked at, not all of them.
    for row in rows[np.argsort(spread / np.maximum(held, 1), kind="stable")]:
        if np.isfinite(windows[row]).all():
            return np.array(windows[row])
    return None


def histograms(names: Sequence[str], features: Float32) -> dict[str, Histogram]:
    """Count features float32[N, F] in bins of about equal share; features never seen are absent."""
    found = {
        name: _histogram(column[np.isfinite(column)])
        for name, column in zip(names, features.T, strict=True)
    }
    return {name: histogram for name, histogram in found.items() if histogram}


def _clearest(candidates: Float32, graph: FeatureGraph, thresholds: Sequence[Float32]) -> Float32:
    features = graph.extract(candidates)
    gaps = np.stack(
        [_gap(column, splits) for column, splits in zip(features.T, thresholds, strict=True)]
    )
    best: Float32 = candidates[int(np.argmax(gaps.min(axis=0)))]
    return best


def _gap(column: Float32, splits: Float32) -> npt.NDArray[np.float64]:
    """Return each value's distance to the nearest split, relative to its size."""
    if not len(splits):
        return np.full(len(column), np.inf)
    value = column.astype(np.float64)[:, None]
    distance = np.abs(value - splits).min(axis=1)
    relative = distance / np.maximum(np.abs(value[:, 0]), np.finfo(np.float32).tiny)
    return np.where(np.isnan(relative), np.inf, relative)


def _histogram(values: Float32) -> Histogram | None:
    if not len(values):
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)).astype(np.float32))
    counts, edges = np.histogram(values, edges if len(edges) > 1 else 1)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))
