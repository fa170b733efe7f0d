"""Which features are worth their place in the graph: a ranking by training machines alone (pure).

A booster on all features ranks them by total gain; a share of the best is kept. Which share, a
tuning decides on machines that ranked nothing.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import xgboost as xgb

    Bool = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]


def ranked(booster: xgb.Booster) -> Ints:
    """Return the columns int64[F] by falling total gain; what no tree uses comes last, in order."""
    gain = np.zeros(booster.num_features())
    for name, value in booster.get_score(importance_type="total_gain").items():
        gain[int(name.removeprefix("f"))] = float(np.sum(value))
    return np.argsort(-gain, kind="stable")


def best(ranking: Ints, share: float, measured: Bool) -> Ints:
    """Return the columns to keep, int64[K] in their own order: a share of F, rounded up.

    Args:
        ranking: int64[F], columns from best to worst.
        share: (0, 1] of them.
        measured: bool[F], columns of a measured channel. The best of these always stays: a model
            that reads no sensor could explain nothing.
    """
    count = max(1, ceil(share * len(ranking) - 1e-9))
    kept = ranking[:count]
    if not measured[kept].any():
        sensors = ranking[measured[ranking]]
        kept = np.append(kept[:-1], sensors[:1])
    return np.sort(kept)
