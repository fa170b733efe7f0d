"""Deliveries as MQTT payloads, and when each is due (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.machine import START_NS
from foreshock_plant.parameters import CHANNELS
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_plant.sensor_faults import Messages

HOUR_NS: Final = 3600 * 1_000_000_000
DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One message to publish: `arrival_ns` (plant time) decides when, the payload is final."""

    machine: str
    arrival_ns: int
    time_ns: int
    channels: tuple[str, ...]
    copy: bool
    payload: bytes

    @property
    def topic(self) -> str:
        """The topic on the gateway's local broker."""
        return sample_topic(self.machine)


@dataclass(frozen=True, slots=True)
class Pace:
    """Plant time as a function of the wall clock's monotonic seconds."""

    begun_s: float
    hours_per_s: float

    def plant_ns(self, now_s: float) -> int:
        """Return the plant time at a moment."""
        return START_NS + int((now_s - self.begun_s) * self.hours_per_s * HOUR_NS)

    def due_s(self, plant_ns: int) -> float:
        """Return the moment at which a plant time comes."""
        return self.begun_s + (plant_ns - START_NS) / HOUR_NS / self.hours_per_s


def sample_topic(machine: str) -> str:
    """Return the local topic on which a machine's sensors speak."""
    return f"plant/{check_id(machine, 'machine')}/sample"


def samples(messages: Messages) -> Iterator[Sample]:
    """Yield messages as they go out, in order of arrival.

    The payload is `{"t": source time in ns, channel: value, ...}`; a missing channel dropped out.
    """
    for i in range(len(messages)):
        held = np.flatnonzero(~np.isnan(messages.values[i]))
        time_ns = int(messages.time_ns[i])
        body: dict[str, float] = {"t": time_ns}
        body |= {CHANNELS[c]: round(float(messages.values[i, c]), DECIMALS) for c in held}
        yield Sample(
            machine=messages.machines[messages.machine[i]],
            arrival_ns=int(messages.arrival_ns[i]),
            time_ns=time_ns,
            channels=tuple(CHANNELS[c] for c in held),
            copy=bool(messages.copy[i]),
            payload=json.dumps(body, separators=(",", ":")).encode(),
        )
