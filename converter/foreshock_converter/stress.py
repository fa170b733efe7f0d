"""Windows that a plant sends sooner or later, made from ordinary ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]


def _untouched(windows: Float32) -> Float32:
    return windows


def _drop_outs(windows: Float32) -> Float32:
    lost = np.random.default_rng(0).random(windows.shape) < 0.25  # noqa: PLR2004 - a quarter
    return np.where(lost, np.float32(np.nan), windows)


def _lost_channel(windows: Float32) -> Float32:
    lost = np.arange(windows.shape[2]) == np.arange(len(windows))[:, None] % windows.shape[2]
    return np.where(lost[:, None, :], np.float32(np.nan), windows)


def _infinite(windows: Float32) -> Float32:
    spiked = windows.copy()
    spiked[:, ::5] = np.inf
    spiked[:, 1::7] = -np.inf
    return spiked


def _stuck(windows: Float32) -> Float32:
    return np.broadcast_to(windows[:, :1], windows.shape).copy()


def _constant(windows: Float32) -> Float32:
    return np.zeros_like(windows)


def _overflowing(windows: Float32) -> Float32:
    return windows * np.float32(1e25)


def _one_reading(windows: Float32) -> Float32:
    lone = np.full_like(windows, np.nan)
    lone[:, -1] = windows[:, -1]
    return lone


def _all_missing(windows: Float32) -> Float32:
    return np.full_like(windows, np.nan)


STRESSES: Final[dict[str, Callable[[Float32], Float32]]] = {
    "untouched": _untouched,
    "drop_outs": _drop_outs,
    "lost_channel": _lost_channel,
    "infinite": _infinite,
    "stuck": _stuck,
    "constant": _constant,
    "overflowing": _overflowing,
    "one_reading": _one_reading,
    "all_missing": _all_missing,
}
"""What can happen to windows float32[N, T, C], by name."""


def stressed(windows: Float32) -> Float32:
    """Return `windows` float32[N, T, C] once for each stress, in the order of `STRESSES`."""
    return np.concatenate([stress(windows) for stress in STRESSES.values()])
