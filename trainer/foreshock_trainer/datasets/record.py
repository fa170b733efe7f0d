"""A fleet -> recorded telemetry and work orders, as gateways would have uploaded them.

Training machines go to `DIR/train` with their failures; test machines to `DIR/test`, without: what
became of them is no part of what a gateway or the lake may know.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.datasets.base import DataError
from foreshock_trainer.datasets.channels import constant
from foreshock_trainer.label_files import COLUMNS
from foreshock_trainer.labels import Kind
from foreshock_wire.batch import Readings
from foreshock_wire.recorded import EVENTS_FILE, write_readings
from foreshock_wire.times import rfc3339
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_trainer.datasets.base import Fleet, Life

EPOCH: Final = "recorded"
MACHINES_PER_GATEWAY: Final = 20


@dataclass(frozen=True, slots=True)
class RecordedFleet:
    """What was written: `channels` as `trainer retrain --channel` takes them, in order.

    `test_samples` are the samples of all test machines, and so the windows that become due there;
    `counter` is the channel that counts them, `vouched` as `trainer retrain --vouch` takes them.
    """

    channels: tuple[str, ...]
    left_out: tuple[str, ...]
    train_machines: int
    test_machines: int
    test_samples: int
    readings: int
    counter: str
    vouched: tuple[str, ...]
    period_s: float
    horizon_h: float
    length: int
    out: str

    def as_json(self) -> dict[str, object]:
        """Return it as one flat object."""
        return asdict(self)


def varying(fleet: Fleet) -> Fleet:
    """Return the fleet without the channels that never change on the training machines."""
    dead = set(constant(fleet))
    return fleet.only([i for i in range(len(fleet.channels)) if i not in dead])


def record(fleet: Fleet, out: Path, *, site: str) -> RecordedFleet:
    """Write both parts of a fleet below `out`.

    Raises:
        DataError: `out` already holds a recording.
    """
    if (out / "train").exists() or (out / "test").exists():
        raise DataError(f"{out} already holds a recording: choose another --out")
    kept = varying(fleet)
    readings = sum(
        _write(kept, getattr(kept, part), out / part, site) for part in ("train", "test")
    )
    _write_failures(kept, out / "train" / EVENTS_FILE)
    names = {channel.id for channel in kept.channels}
    return RecordedFleet(
        channels=tuple(f"{one.id}:{one.unit}:{one.role}" for one in kept.channels),
        left_out=tuple(one.id for one in fleet.channels if one.id not in names),
        train_machines=len(kept.train),
        test_machines=len(kept.test),
        test_samples=sum(map(kept.samples, kept.test)),
        readings=readings,
        counter=kept.counter,
        vouched=kept.vouched,
        period_s=kept.period_s,
        horizon_h=kept.horizon_h,
        length=kept.length,
        out=str(out),
    )


def _write(fleet: Fleet, lives: Sequence[Life], out: Path, site: str) -> int:
    count = 0
    for number, start in enumerate(range(0, len(lives), MACHINES_PER_GATEWAY), start=1):
        batch = _batch(fleet, lives[start : start + MACHINES_PER_GATEWAY])
        write_readings(out, Gateway(site, f"{site}-{number}"), batch)
        count += len(batch)
    return count


def _batch(fleet: Fleet, lives: Sequence[Life]) -> Readings:
    """Put machines' readings together in order of time; a machine's own order stays."""
    machine = np.repeat(np.arange(len(lives)), [len(life.time_ns) for life in lives])
    time_ns = np.concatenate([life.time_ns for life in lives])
    order = np.argsort(time_ns, kind="stable")
    return Readings(
        epoch=EPOCH,
        first_seq=1,
        machines=[life.machine for life in lives],
        channels=[channel.id for channel in fleet.channels],
        machine=machine[order].astype(np.uint16),
        channel=np.concatenate([life.channel for life in lives])[order].astype(np.uint16),
        time_ns=time_ns[order],
        received_ns=time_ns[order],
        value=np.concatenate([life.value for life in lives])[order],
        flags=np.zeros(len(order), np.uint8),
    )


def _write_failures(fleet: Fleet, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(COLUMNS)
        for life in fleet.train:
            failed = rfc3339(life.failure_ns)
            rows.writerow((life.machine, failed, str(Kind.FAILURE), fleet.mode, ""))
