"""Retraining on a month of minutes: peak memory and time, at that size, half and twice it.

`python -m benchmarks.retraining [--quick] [--json]`. Machines send five channels once a minute, and
wear towards failures of three kinds. The readings go into a lake by the ingest's own path, and
`foreshock trainer retrain` runs on it as a process of its own, whose peak memory the kernel tells.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.labels import Kind, Label, put_labels
from foreshock_trainer.lake import Lake
from foreshock_wire.batch import Readings
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

MINUTE_NS: Final = 60_000_000_000
START_NS: Final = 1_704_067_200_000_000_000
CHANNELS: Final = {
    "temperature": "degC",
    "pressure": "bar",
    "vibration": "mm/s",
    "torque": "N.m",
    "motor_power": "kW",
}
MODES: Final = ("bearing_wear", "seal_leak", "overstrain")
MACHINES_PER_GATEWAY: Final = 10
ROUND_MINUTES: Final = 2000
"""Minutes of a gateway that go up in one batch: 100,000 readings."""
WEAR_H: Final = 120.0
"""How long before a failure its signs begin."""
WINDOW: Final = ("--period-s", "60", "--length", "120", "--stride", "30", "--horizon-h", "48")
MEMORY_AIM_GIB: Final = 4.0


def fill(root: Path, machines: int, days: int) -> int:
    """Write a lake of so many machines and days; return the number of readings."""
    lake = Lake(root, create=True)
    ingest = Ingest(lake)
    labels: list[Label] = []
    for number, first in enumerate(range(0, machines, MACHINES_PER_GATEWAY), start=1):
        names = [f"m-{i:04d}" for i in range(first, min(first + MACHINES_PER_GATEWAY, machines))]
        lives = [_life(name, days * 1440) for name in names]
        labels += [label for _, told in lives for label in told]
        values = np.stack([told for told, _ in lives])
        gateway = Gateway("works", f"gw-{number}")
        topic, seq = uplink(gateway, Stream.READINGS), 1
        for begin, end in pairwise([*range(0, days * 1440, ROUND_MINUTES), days * 1440]):
            batch = _batch(names, values[:, begin:end], begin, seq)
            ingest.take([Message(topic, batch.to_bytes(level=1), batch.time_ns[-1])])
            seq += len(batch)
    put_labels(lake, labels)
    return ingest.counters.readings


def _life(name: str, minutes: int) -> tuple[Float32, list[Label]]:
    """Return a machine's values float32[minutes, 5], and what happened to it."""
    chance = np.random.default_rng(int(name[2:]))
    ends = np.cumsum(chance.uniform(4, 20, 20) * 1440).astype(np.int64)
    ends = ends[ends < minutes]
    clock = np.arange(minutes)
    after = np.append(ends, np.iinfo(np.int64).max // 2)[np.searchsorted(ends, clock)]
    wear = np.clip(1 - (after - clock) / (WEAR_H * 60), 0, 1)
    mode = int(chance.integers(len(MODES)))
    load = 50 + 10 * np.sin(clock / 1440 * 2 * np.pi + chance.uniform(0, 6))
    noise = chance.standard_normal((minutes, len(CHANNELS)), dtype=np.float32)
    base = np.stack([load + 10, load / 10, load / 25, load, load / 5], axis=1)
    base[:, (2, 1, 3)[mode]] *= 1 + 0.8 * wear**2
    values = base * (1 + 0.05 * noise)
    labels = [Label(name, START_NS - MINUTE_NS, Kind.INSTALLED)]
    for end in ends.tolist():
        at = START_NS + end * MINUTE_NS
        labels.append(Label(name, at, Kind.FAILURE, MODES[mode]))
        labels.append(Label(name, at + MINUTE_NS, Kind.REPAIRED))
    labels.append(Label(name, START_NS + minutes * MINUTE_NS, Kind.OBSERVED_UNTIL))
    return values.astype(np.float32), labels


def _batch(names: list[str], values: Float32, begin: int, seq: int) -> Readings:
    """Return a gateway's minutes, values [machine, minute, channel], minute by minute."""
    machines, minutes, channels = values.shape
    each = machines * channels
    time_ns = np.repeat(START_NS + (begin + np.arange(minutes)) * MINUTE_NS, each)
    return Readings(
        epoch="e1",
        first_seq=seq,
        machines=names,
        channels=list(CHANNELS),
        machine=np.tile(np.repeat(np.arange(machines), channels), minutes).astype(np.uint16),
        channel=np.tile(np.arange(channels), machines * minutes).astype(np.uint16),
        time_ns=time_ns,
        received_ns=time_ns,
        value=values.transpose(1, 0, 2).reshape(-1),
        flags=np.zeros(each * minutes, np.uint8),
    )


def retrain(lake: Path, tracking: Path) -> dict[str, Any]:
    """Run a retraining as a process; return its result, its seconds and its peak memory in GiB."""
    channels = [f"--channel={name}:{unit}" for name, unit in CHANNELS.items()]
    command = [sys.executable, "-m", "foreshock", "trainer", "retrain", "--lake", str(lake)]
    command += ["--tracking", str(tracking), "--json", *WINDOW, *channels]
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the retraining ended with {process.returncode}")
        out.seek(0)
        result: dict[str, Any] = json.loads(out.read().splitlines()[-1])
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gib": round(usage.ru_maxrss * scale / 2**30, 2),
        "steps": result["seconds"],
        "windows": result["counts"]["windows"],
        "f1": round(result["metrics"]["f1"], 3),
        "parity": result["parity"]["ok"],
    }


def measure(folder: Path, *, machines: int, days: int, times: tuple[float, ...]) -> dict[str, Any]:
    """Fill lakes of several sizes and retrain on each, one after the other."""
    rows = []
    for part in times:
        lake = folder / f"lake-{part:g}"
        count = round(machines * part)
        begin = time.perf_counter()
        readings = fill(lake, count, days)
        filled_s = round(time.perf_counter() - begin, 1)
        print(f"{count} machines, {readings:,} readings are in the lake", file=sys.stderr)
        found = retrain(lake, folder / f"models-{part:g}")
        rows.append({"machines": count, "readings": readings, "fill_s": filled_s} | found)
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {"days": days, "window": " ".join(WINDOW), "aim_gib": MEMORY_AIM_GIB, "rows": rows}


@click.command(epilog="Example: python -m benchmarks.retraining --quick --json")
@click.option("--quick", is_flag=True, help="30 machines and 12 days, once.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the lakes are kept.")
@click.option(
    "--part", "parts", multiple=True, type=float, help="Only these parts of the size; 1 is all."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, folder: Path | None, parts: tuple[float, ...], as_json: bool) -> None:
    """Retrain on 200 machines x 30 days at one reading a minute and channel, half and twice it."""
    machines, days, times = (30, 12, (1.0,)) if quick else (200, 30, parts or (0.5, 1.0, 2.0))
    with tempfile.TemporaryDirectory() as own:
        result = measure(folder or Path(own), machines=machines, days=days, times=times)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
