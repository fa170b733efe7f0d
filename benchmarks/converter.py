"""Window -> all outputs: the model file against NumPy features and XGBoost, one thread.

`python -m benchmarks.converter [--quick] [--json]`. Trust the ratios: both sides take turns of
twenty calls, each on another window, so that neither learns its branches by heart.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import click
import numpy as np

from foreshock_converter.assemble import assemble
from foreshock_converter.parity import parity
from foreshock_converter.sample import Trained, synthetic_windows, train
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

CHANNELS, LENGTH = 5, 48
ROUNDS, DEPTH = 150, 6
BLOCK = 20


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU microseconds per call, of this thread: a busy machine does not count."""

    p50: float
    p95: float
    p99: float


def numpy_features(windows: Float32, period_h: float) -> Float32:
    """Compute the same features as the graph, vectorised over windows and channels."""
    x = windows.transpose(0, 2, 1)
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
    last = np.take_along_axis(value, (LENGTH - 1 - held[..., ::-1].argmax(-1))[..., None], -1)
    ticks = np.arange(LENGTH, dtype=np.float32)
    centred_ticks = np.where(held, ticks - ((held * ticks).sum(-1) / count)[..., None], 0)
    slope = (centred_ticks * centred).sum(-1) / (centred_ticks**2).sum(-1) / period_h
    pairs = held[..., :-1] & held[..., 1:]
    both = pairs.sum(axis=-1)
    products = z[..., :-1] * z[..., 1:] * pairs
    lag1 = products.sum(-1) / both
    crossings = (products < -1e-4).sum(-1) + 0 * z[..., 0]  # noqa: PLR2004 - the graph's limit
    roughness = (np.abs(np.diff(value)) * pairs).sum(-1) / both
    quarter = LENGTH // 4
    early = value[..., :quarter].sum(-1) / held[..., :quarter].sum(-1)
    late = value[..., -quarter:].sum(-1) / held[..., -quarter:].sum(-1)
    square = z * z
    columns = [
        *(mean, std, low, high, last[..., 0], slope, rms, high - low),
        *((square * z).sum(-1) / count, (square * square).sum(-1) / count),
        *(np.maximum(np.abs(low), np.abs(high)) / rms, lag1, crossings, roughness, late - early),
        LENGTH - count,
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


def timings(
    calls: dict[str, Callable[[Float32], object]], batches: Sequence[Float32]
) -> dict[str, Timing]:
    """Measure each call on each batch, in turns."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for first in range(0, len(batches), BLOCK):
        for name, call in calls.items():
            for batch in batches[first : first + BLOCK]:
                start = time.thread_time()
                call(batch)
                spent[name].append((time.thread_time() - start) * 1e6)
    return {name: Timing(*_percentiles(values)) for name, values in spent.items()}


def _percentiles(values: list[float]) -> list[float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return [round(cuts[at - 1], 1) for at in (50, 95, 99)]


def measure(*, quick: bool) -> dict[str, object]:
    """Train, convert and compare; the result is what `--json` prints."""
    parts = train(rounds=ROUNDS, depth=DEPTH)
    data = assembled(parts)
    whole = Model.load(data)
    bare_heads = replace(parts.heads, modes=None, lead_time=None)
    bare = Model.load(assembled(replace(parts, heads=bare_heads)))
    calls: dict[str, Callable[[Float32], object]] = {
        "all_outputs": whole.run,
        "probability": bare.run,
        "numpy_xgboost": lambda windows: numpy_and_xgboost(parts, windows),
        "all_outputs_explained": lambda windows: whole.run(windows, explain=True),
    }
    windows = synthetic_windows(2_000 if quick else 10_000, CHANNELS, LENGTH, seed=1)[0]
    alone = timings(calls, [windows[i : i + 1] for i in range(300 if quick else 2_000)])
    starts = range(0, len(windows) - 63, 64)
    del calls["all_outputs_explained"]
    together = timings(calls, [windows[i : i + 64] for i in starts])
    report = parity(data, parts.heads, parts.calibration, windows)
    return {
        "trees": 6 * ROUNDS,
        "n1_us": {name: asdict(timing) for name, timing in alone.items()},
        "n64_us": {name: asdict(timing) for name, timing in together.items()},
        "n64_windows_per_s": {name: round(64e6 / t.p50) for name, t in together.items()},
        "parity": {
            "windows": report.windows,
            "flips": report.flips,
            "max_abs": report.max_abs_probability,
        },
        "ratios": {
            "n1_vs_numpy_xgboost": _ratio(alone["numpy_xgboost"], alone["all_outputs"]),
            "n64_throughput_vs_numpy_xgboost": _ratio(
                together["numpy_xgboost"], together["all_outputs"]
            ),
            "all_outputs_vs_probability": _ratio(alone["all_outputs"], alone["probability"]),
        },
    }


def assembled(parts: Trained) -> bytes:
    """Convert the parts."""
    return assemble(
        parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
    )


def _ratio(one: Timing, other: Timing) -> float:
    return round(one.p50 / other.p50, 2)


@click.command(epilog="Example: python -m benchmarks.converter --quick --json")
@click.option("--quick", is_flag=True, help="Fewer windows: about ten seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Compare the model file with NumPy features and XGBoost."""
    result = measure(quick=quick)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
