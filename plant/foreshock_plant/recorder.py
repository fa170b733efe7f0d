"""Past lives as telemetry batch files, as gateways would have uploaded them.

Layout: `DIR/history/{gateway}/{epoch}-{first_seq}.fsb` (one `foreshock_wire.batch.Readings` each),
`DIR/events.csv`, `DIR/truth.npz`. Readings stand in order of arrival; copies are left out, as a
gateway's intake would have done, and seq counts a gateway's readings from 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.machine import Life, machine_ids, simulate
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.sensor_faults import Messages, deliver, true_messages
from foreshock_plant.truth import EventLog, in_order, write_truth
from foreshock_wire.batch import Readings
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SITE: Final = "history"
PREFIX: Final = "h-"
MACHINES_PER_GATEWAY: Final = 20
READINGS_PER_FILE: Final = 50_000


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
    if (out / "events.csv").exists():
        raise ForeshockError(f"{out} already holds a recording: choose another --out")
    names = machine_ids(machines, PREFIX)
    groups = [names[i :: _gateways(machines)] for i in range(_gateways(machines))]
    lives, files, readings = [], 0, 0
    for number, group in enumerate(groups, start=1):
        some = [simulate(name, seed=seed, hours=hours) for name in group]
        messages = deliver(true_messages(some), seed=seed)
        for batch in batches(messages, epoch=f"history{seed}"):
            _write(out / SITE / f"{SITE}-{number}", batch)
            files, readings = files + 1, readings + len(batch)
        lives += some
        progress(len(group))
    failures = _write_events(out, lives)
    return Recorded(machines, len(groups), files, readings, failures, str(out))


def batches(messages: Messages, *, epoch: str) -> Iterator[Readings]:
    """Yield a gateway's messages, copies left out, as batches with seq counted from 1."""
    first = messages.take(~messages.copy)
    row, channel = np.nonzero(~np.isnan(first.values))
    for start in range(0, len(row), READINGS_PER_FILE):
        part, which = (
            row[start : start + READINGS_PER_FILE],
            channel[start : start + READINGS_PER_FILE],
        )
        yield Readings(
            epoch=epoch,
            first_seq=start + 1,
            machines=list(first.machines),
            channels=list(CHANNELS),
            machine=first.machine[part].astype(np.uint16),
            channel=which.astype(np.uint16),
            time_ns=first.time_ns[part],
            received_ns=first.arrival_ns[part],
            value=first.values[part, which],
            flags=np.zeros(len(part), dtype=np.uint8),
        )


def _gateways(machines: int) -> int:
    return -(-machines // MACHINES_PER_GATEWAY)


def _write(folder: Path, batch: Readings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{batch.epoch}-{batch.first_seq:012d}.fsb").write_bytes(batch.to_bytes())


def _write_events(out: Path, lives: Sequence[Life]) -> int:
    """Write events.csv last: a recording without it is not whole."""
    out.mkdir(parents=True, exist_ok=True)
    write_truth(out / "truth.npz", lives)
    rows = in_order(lives)
    with EventLog(out / "events.csv") as log:
        for machine, event in rows:
            log.add(machine, event)
    return sum(event.kind == "failure" for _, event in rows)
