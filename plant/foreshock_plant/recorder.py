"""Past lives as telemetry batch files, as gateways would have uploaded them.

The layout is that of `foreshock_wire.recorded`, with `truth.npz` and `faults.csv` beside it.
Readings stand in order of arrival; copies are left out, as a gateway's intake would have done, and
seq counts a gateway's readings from 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.machine import Life, machine_ids, simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.sensor_faults import Messages, Stretch, deliver, true_messages
from foreshock_plant.truth import EventLog, in_order, write_faults, write_truth
from foreshock_wire.batch import Readings
from foreshock_wire.errors import ForeshockError
from foreshock_wire.recorded import EVENTS_FILE, write_readings
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SITE: Final = "history"
PREFIX: Final = "h-"
MACHINES_PER_GATEWAY: Final = 20


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recording holds."""

    machines: int
    gateways: int
    files: int
    readings: int
    failures: int
    out: str

    def as_json(self) -> dict[str, int | str]:
        """Return the summary as one flat object."""
        return asdict(self)


def record(
    out: Path, *, machines: int, hours: float, seed: int, progress: Callable[[int], object]
) -> Recorded:
    """Write past lives to `out`; `progress` is told how many machines more are done.

    Raises:
        ForeshockError: `out` already holds a recording, or the numbers make no plant.
    """
    if (out / EVENTS_FILE).exists():
        raise ForeshockError(f"{out} already holds a recording: choose another --out")
    names = machine_ids(machines, PREFIX)
    groups = [names[i :: _gateways(machines)] for i in range(_gateways(machines))]
    lives: list[Life] = []
    stretches: list[Stretch] = []
    files = readings = 0
    for number, group in enumerate(groups, start=1):
        some = [simulate(name, seed=seed, hours=hours) for name in group]
        messages, lies = deliver(true_messages(some), seed=seed)
        kept = received(messages, epoch=f"history{seed}")
        files += write_readings(out, Gateway(SITE, f"{SITE}-{number}"), kept)
        readings += len(kept)
        lives += some
        stretches += lies
        progress(len(group))
    failures = _write_truth(out, lives, stretches)
    return Recorded(machines, len(groups), files, readings, failures, str(out))


def received(messages: Messages, *, epoch: str) -> Readings:
    """Return what a gateway keeps of its messages: each reading once, seq counted from 1."""
    first = messages.take(~messages.copy)
    row, channel = np.nonzero(~np.isnan(first.values))
    return Readings(
        epoch=epoch,
        first_seq=1,
        machines=list(first.machines),
        channels=list(CHANNELS),
        machine=first.machine[row].astype(np.uint16),
        channel=channel.astype(np.uint16),
        time_ns=first.time_ns[row],
        received_ns=first.arrival_ns[row],
        value=first.values[row, channel],
        flags=np.zeros(len(row), dtype=np.uint8),
    )


def _gateways(machines: int) -> int:
    return -(-machines // MACHINES_PER_GATEWAY)


def _write_truth(out: Path, lives: Sequence[Life], stretches: Sequence[Stretch]) -> int:
    """Write what really happened, events.csv last: a recording without it is not whole."""
    out.mkdir(parents=True, exist_ok=True)
    write_truth(out / "truth.npz", lives)
    write_faults(out / "faults.csv", stretches)
    rows = in_order(lives)
    with EventLog(out / EVENTS_FILE) as log:
        for machine, event in rows:
            log.add(machine, event)
    return sum(event.kind == "failure" for _, event in rows)
