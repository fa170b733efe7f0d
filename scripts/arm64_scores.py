"""Score windows with every model file in a directory, under whatever processor runs this.

`python arm64_scores.py WORK OUT`: WORK holds NAME.onnx beside NAME.npy, windows float32[N, T, C];
OUT becomes a .npz of every output. Like a gateway it needs numpy, onnxruntime, `foreshock_wire`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from foreshock_wire.model import OUTPUTS, Model

BATCH = 64
EXPLAINED = 256


def scores(model: Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Return each output of all windows; only the first `EXPLAINED` are explained."""
    runs = [
        model.run(windows[start : start + BATCH], explain=start < EXPLAINED)
        for start in range(0, len(windows), BATCH)
    ]
    return {name: np.concatenate([getattr(run, name) for run in runs]) for name in OUTPUTS}


def main(work: Path, out: Path) -> None:
    """Run the golden windows of each model, then score its windows."""
    found: dict[str, np.ndarray] = {}
    for path in sorted(work.glob("*.onnx")):
        model = Model.load(path)
        model.self_test()
        windows = np.load(path.with_suffix(".npy"))
        for name, values in scores(model, windows).items():
            found[f"{path.stem}.{name}"] = values
    np.savez(out, allow_pickle=False, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
