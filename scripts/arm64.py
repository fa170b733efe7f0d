"""Show that a model file decides on arm64 as on x86_64: `make arm64` (ARGS='--json').

The same files score the same windows (ordinary, stressed, generated; golden ones too) under this
Python and under an arm64 Debian's, run by qemu-user; then every output is compared. Windows are put
under the same stresses as in a parity report. The arm64 tree is kept in var/arm64, and so is a QEMU
of Debian 13 where this machine has none that is new enough.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foreshock_converter.assemble import assemble
from foreshock_converter.sample import synthetic_windows, train
from foreshock_converter.stress import STRESSES, generated, stressed
from foreshock_wire.derived import Derived, Operation
from foreshock_wire.model import OUTPUTS, Model
from scripts import qemu
from scripts.trees import SEARCHED, quiet, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foreshock_converter.sample import Trained

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var" / "arm64"
LOCK = ROOT / "requirements" / "agent.txt"
SUITE = "bookworm"  # its Python is 3.11, the oldest that the product supports
PLAIN = 600  # ordinary windows; each is put under every stress


def refusal(named: str | None) -> str | None:
    """Say why this machine cannot run the comparison, and the way out; None when it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "make arm64 compares with Linux on x86_64: run it there"
    if (why := qemu.refusal(named)) is not None:
        return why
    if not current_tree().is_dir() and not shutil.which("debootstrap", path=SEARCHED):
        return "make arm64 needs debootstrap: sudo apt-get install debootstrap"
    if not current_tree().is_dir() and os.geteuid() != 0:
        return "debootstrap makes the arm64 tree as root, once: run sudo make arm64"
    return None


def current_tree() -> Path:
    """Return where the tree for this lock belongs; another lock is another tree."""
    digest = hashlib.sha256(LOCK.read_bytes() + SUITE.encode()).hexdigest()[:12]
    return VAR / digest


def make_tree() -> Path:
    """Make the arm64 tree unless it stands: Debian's Python, and the agent's lock beside it."""
    tree = current_tree()
    if tree.is_dir():
        return tree
    partial = tree.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    say(f"makes {tree.relative_to(ROOT)} from Debian {SUITE}, once")
    # Unpacking is enough: nothing of the tree runs but its Python, so nothing is configured.
    quiet(
        *("debootstrap", "--foreign", "--arch=arm64", "--variant=minbase"),
        *("--include=python3,libstdc++6", SUITE, str(partial)),
    )
    for package in sorted((partial / "var/cache/apt/archives").glob("*.deb")):
        quiet("dpkg-deb", "--extract", str(package), str(partial))
    quiet(
        *(str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"),
        *("--target", str(partial / "packages"), "--python-version", "3.11"),
        *("--python-platform", "aarch64-manylinux_2_28", "--only-binary", ":all:"),
        *("--require-hashes", "--no-deps", "-r", str(LOCK)),
    )
    partial.rename(tree)
    return tree


def models() -> dict[str, Trained]:
    """Train what is compared: the sample, and one with every formula and 900 deep trees."""
    power = Derived("work", "W", Operation.PRODUCT, ("torque", "vibration"))
    choice = ("time", "context", "spectral")
    return {
        "sample": train(),
        "large": train(rounds=150, depth=6, derived=(power,), choice=choice),
    }


def lay_out(work: Path) -> None:
    """Write each model file and its windows into `work`."""
    work.mkdir(parents=True, exist_ok=True)
    for name, parts in models().items():
        data = assemble(
            parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
        )
        spec = Model.load(data).spec
        plain = synthetic_windows(PLAIN, len(spec.channels), spec.length, seed=2)[0]
        lacking = 10_000 - PLAIN * len(STRESSES)
        windows = np.concatenate([stressed(plain), generated(spec, lacking, seed=3)])
        (work / f"{name}.onnx").write_bytes(data)
        np.save(work / f"{name}.npy", windows)


def scored(command: list[str], packages: str, work: Path, out: Path) -> Mapping[str, np.ndarray]:
    """Let a Python score all of `work`; return its outputs by name."""
    environment = {
        "PYTHONPATH": f"{ROOT / 'wire'}{os.pathsep}{packages}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    script = str(Path(__file__).with_name("arm64_scores.py"))
    done = subprocess.run([*command, script, str(work), str(out)], env=environment, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} could not score the windows (it ended with {done.returncode})")
    with np.load(out) as held:
        return dict(held)


def compared(
    name: str, model: Model, here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray]
) -> dict[str, object]:
    """Return the flips and largest differences of one model between the two processors."""
    one, other = ({out: side[f"{name}.{out}"] for out in OUTPUTS} for side in (here, there))
    limit = model.spec.threshold_margin
    flips = (one["margin"] >= limit) != (other["margin"] >= limit)
    named = [np.nan_to_num(side["modes"], nan=-1).argmax(axis=1) for side in (one, other)]
    return {
        "windows": len(flips),
        "alarms": int((one["margin"] >= limit).sum()),
        "unscored": int(np.isnan(one["margin"]).sum()),
        "flips": int(flips.sum()),
        "mode_flips": int((named[0] != named[1]).sum()),
        "max_abs": {out: difference(one[out], other[out]) for out in OUTPUTS},
    }


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference; infinite where only one side has a value."""
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    with np.errstate(invalid="ignore"):
        off = np.abs(one.astype(np.float64) - other)
    return float(np.nan_to_num(off[~same], nan=np.inf, posinf=np.inf).max(initial=0.0))


def main() -> int:
    """Compare the processors; 0 when every decision is the same, 2 when it cannot be told."""
    parser = argparse.ArgumentParser(
        description="Compare a model file's decisions on x86_64 and arm64.",
        epilog="Example: make arm64 ARGS=--json",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--qemu", metavar="FILE", help="the qemu-aarch64 to use, 10 or newer")
    options = parser.parse_args()
    if (why := refusal(options.qemu)) is not None:
        print(why, file=sys.stderr)
        return 2
    emulator = qemu.provided(options.qemu, VAR)
    tree, work = make_tree(), VAR / "work"
    say("trains the models and makes the windows")
    lay_out(work)
    say("scores them on x86_64")
    site = str(Path(np.__file__).parent.parent)
    here = scored([sys.executable], site, work, work / "x86_64.npz")
    say("scores them on arm64, under qemu-user (minutes)")
    start = time.monotonic()
    emulated = [emulator, "-L", str(tree), str(tree / "usr/bin/python3.11")]
    there = scored(emulated, str(tree / "packages"), work, work / "arm64.npz")
    say(f"done in {time.monotonic() - start:.0f} s")
    result = {
        path.stem: compared(path.stem, Model.load(path), here, there)
        for path in sorted(work.glob("*.onnx"))
    }
    print(json.dumps(result, indent=None if options.json else 2))
    return int(any(model["flips"] or model["mode_flips"] for model in result.values()))


if __name__ == "__main__":
    sys.exit(main())
