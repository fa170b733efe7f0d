"""Windows that a plant sends sooner or later, made from ordinary ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from foreshock_wire.spec import Histogram, ModelSpec

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


def generated(spec: ModelSpec, count: int, *, seed: int = 0) -> Float32:
    """Return windows float32[count, T, C] like the ones that the model's features were counted on.

    Each channel has a level, a spread and a drift drawn from the reference histograms of its
    features, one window in four keeps the baseline in a channel, and a tenth of the cells is
    missing. No data is needed, so anybody can repeat a proof.
    """
    rng = np.random.default_rng(seed)
    time = np.linspace(-0.5, 0.5, spec.length)[:, None]
    level, spread, drift = (
        np.stack(
            [_drawn(spec, channel, names, count, rng) for channel in range(len(spec.channels))],
            axis=-1,
        )[:, None]
        for names in (LEVELS, SPREADS, DRIFTS)
    )
    noise = rng.normal(size=(count, spec.length, len(spec.channels)))
    windows = level + spread * noise + drift * time
    healthy = rng.random((count, 1, len(spec.channels))) < 0.25  # noqa: PLR2004 - a quarter
    windows = np.where(healthy, spec.baseline, windows)
    windows[rng.random(windows.shape) < 0.1] = np.nan  # noqa: PLR2004 - a tenth
    return windows.astype(np.float32)


LEVELS: Final = ("mean", "last", "sum", "min", "max")
SPREADS: Final = ("std", "peak_to_peak")
DRIFTS: Final = ("rise",)


def _drawn(
    spec: ModelSpec, channel: int, names: tuple[str, ...], count: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Draw from the first of these features that has a histogram, or else from the baseline."""
    own = (f"{spec.channels[channel].id}.{name}" for name in names)
    histogram = next((spec.reference[name] for name in own if name in spec.reference), None)
    if histogram is not None:
        return _from(histogram, count, rng)
    healthy = spec.baseline[:, channel]
    healthy = healthy[np.isfinite(healthy)]
    if names is LEVELS:
        return rng.choice(healthy, count) if len(healthy) else np.zeros(count)
    return np.full(count, float(healthy.std()) if len(healthy) else 0.0)


def _from(histogram: Histogram, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    edges, counts = np.array(histogram.edges), np.array(histogram.counts, np.float64)
    bins = rng.choice(len(counts), count, p=counts / counts.sum())
    low, high = edges[bins], edges[bins + 1]
    # Beyond what was seen too, but not far.
    drawn: npt.NDArray[np.float64] = low + (high - low) * rng.uniform(-0.05, 1.05, count)
    return drawn
