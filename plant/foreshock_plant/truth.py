"""Files about what really happened: work orders, what nobody sees, and which readings lie.

events.csv (the work orders) has the columns of `COLUMNS`, one row per event. truth.npz holds
`machines`, `modes`, `time_ns[K]` and per machine `health[N, K]`, `severity[N, M, K]`, `load[N, K]`,
`running[N, K]`; it reaches to the planned end, also when a live run is stopped before. faults.csv
has the columns of `FAULT_COLUMNS`, one row per `sensor_faults.Stretch` in order of their beginning,
and reaches as far; a size that does not exist is empty. Times are RFC 3339 UTC in both tables.
"""

from __future__ import annotations

import csv
import math
import os
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from foreshock_plant.parameters import MODES
from foreshock_plant.sensor_faults import Stretch
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from foreshock_plant.machine import Event, Life

COLUMNS: Final = ("machine", "time", "kind", "mode", "detail")
FAULT_COLUMNS: Final = ("machine", "channel", "fault", "begin", "end", "size")


def in_order(lives: Iterable[Life]) -> list[tuple[str, Event]]:
    """Return the events of all machines in order of time."""
    rows = [(life.machine, event) for life in lives for event in life.events]
    return sorted(rows, key=lambda row: (row[1].step, row[0]))


class EventLog:
    """Appends events to a new events.csv; a row has left this process before `add` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, machine: str, event: Event) -> None:
        """Append one event."""
        self.row(machine, event.time_ns, event.kind, event.mode, event.detail)

    def row(self, machine: str, time_ns: int, kind: str, mode: str = "", detail: str = "") -> None:
        """Append one row at any time."""
        self._rows.writerow((machine, rfc3339(time_ns), kind, mode, detail))
        self._file.flush()

    def close(self) -> None:
        """Make the file durable and close it; a second call does nothing."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()


def write_truth(path: Path, lives: Sequence[Life]) -> None:
    """Write truth.npz."""
    np.savez_compressed(
        path,
        machines=np.array([life.machine for life in lives]),
        modes=np.array(list(MODES)),
        time_ns=lives[0].time_ns,
        health=np.stack([life.health for life in lives]).astype(np.float32),
        severity=np.stack([life.severity for life in lives]).astype(np.float32),
        load=np.stack([life.load for life in lives]).astype(np.float32),
        running=np.stack([life.running for life in lives]),
    )


def write_faults(path: Path, stretches: Iterable[Stretch]) -> None:
    """Write faults.csv, durably."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(FAULT_COLUMNS)
        for one in sorted(stretches, key=Stretch.order):
            size = "" if math.isnan(one.size) else f"{one.size:g}"
            begin, end = rfc3339(one.begin_ns), rfc3339(one.end_ns)
            rows.writerow((one.machine, one.channel, one.fault, begin, end, size))
        file.flush()
        os.fsync(file.fileno())
