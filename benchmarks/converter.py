"""Window -> all outputs: the model file against the usual ways, one thread.

Peers (`converter_peers`): NumPy features with XGBoost's `inplace_predict`, scikit-learn pipelines,
and the graph of onnxmltools behind NumPy features; all of the same features and trees.

`python -m benchmarks.converter [--quick] [--json]`. Trust the ratios: both sides take turns of
twenty calls, each on another window, so that neither learns its branches by heart.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.converter_peers import (
    numpy_and_xgboost,
    onnxmltools_graph,
    sklearn_pipeline,
)
from foreshock_converter.assemble import assemble
from foreshock_converter.parity import parity
from foreshock_converter.sample import Trained, synthetic_windows, train
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

CHANNELS, LENGTH = 5, 120
ROUNDS, DEPTH = 150, 6
TRAINED_ON = 6_000
"""Enough windows to fill trees of this depth."""
SIZES: Final = (1, 8, 64, 512)
BLOCK = 20
RSS_SCRIPT: Final = """
import ctypes, sys
import numpy as np
import onnxruntime
from pathlib import Path
from foreshock_wire.model import Model

def rss_mib():
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

onnxruntime.InferenceSession  # the runtime is there before the first look
before = rss_mib()
model = Model.load(Path(sys.argv[1]))
windows = np.repeat(model.spec.baseline[np.newaxis], 8, axis=0)
model.run(windows)
model.run(windows[:1], explain=True)
print(rss_mib() - before)
"""
"""Linux only: what a gateway's process grows by."""


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU microseconds per call, of this thread: a busy machine does not count."""

    p50: float
    p95: float
    p99: float


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
    parts = train(rounds=ROUNDS, depth=DEPTH, length=LENGTH, count=1_000 if quick else TRAINED_ON)
    data = assembled(parts)
    whole = Model.load(data)
    bare_heads = replace(parts.heads, modes=None, lead_time=None)
    bare = Model.load(assembled(replace(parts, heads=bare_heads)))
    calls: dict[str, Callable[[Float32], object]] = {
        "all_outputs": whole.run,
        "probability": bare.run,
        "numpy_xgboost": lambda windows: numpy_and_xgboost(parts, windows),
        "sklearn_pipeline": sklearn_pipeline(parts),
        "numpy_onnxmltools": onnxmltools_graph(parts),
    }
    windows = synthetic_windows(2_048 if quick else 10_240, CHANNELS, LENGTH, seed=1)[0]
    explained = {"all_outputs_explained": lambda some: whole.run(some, explain=True)}
    by_size = {
        size: timings(calls | (explained if size == 1 else {}), _batches(windows, size, quick))
        for size in SIZES
    }
    report = parity(data, parts.heads, parts.calibration, windows)
    return {
        "window": [LENGTH, CHANNELS],
        "trees": 6 * ROUNDS,
        "model_bytes": len(data),
        **{f"n{size}_us": _told(found) for size, found in by_size.items()},
        "windows_per_s": {
            name: {f"n{size}": round(size * 1e6 / by_size[size][name].p50) for size in SIZES}
            for name in calls
        },
        "parity": {
            "windows": report.windows,
            "flips": report.flips,
            "max_abs": report.max_abs_probability,
        },
        "session_rss_mib": session_rss_mib(data),
        "ratios": _ratios(by_size),
    }


def session_rss_mib(data: bytes) -> float:
    """Return what loading a model and explaining a window adds to a process that has the runtime.

    Freed memory is given back to the system before each look (malloc_trim).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(data)
        command = [sys.executable, "-c", RSS_SCRIPT, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(float(done.stdout), 1)


def _batches(windows: Float32, size: int, quick: bool) -> list[Float32]:  # noqa: FBT001 - private
    most = (200 if quick else 2_000) if size == 1 else len(windows) // size
    return [windows[at * size : (at + 1) * size] for at in range(most)]


def _told(found: dict[str, Timing]) -> dict[str, dict[str, float]]:
    return {name: asdict(timing) for name, timing in found.items()}


def _ratios(by_size: dict[int, dict[str, Timing]]) -> dict[str, float]:
    alone = by_size[1]
    ours = {
        "n1_vs_numpy_xgboost": _ratio(alone["numpy_xgboost"], alone["all_outputs"]),
        "n64_throughput_vs_numpy_xgboost": _ratio(
            by_size[64]["numpy_xgboost"], by_size[64]["all_outputs"]
        ),
        "all_outputs_vs_probability": _ratio(alone["all_outputs"], alone["probability"]),
    }
    others = {
        f"n{size}_vs_{peer}": _ratio(found[peer], found["all_outputs"])
        for size, found in by_size.items()
        for peer in ("numpy_xgboost", "sklearn_pipeline", "numpy_onnxmltools")
    }
    return others | ours


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
