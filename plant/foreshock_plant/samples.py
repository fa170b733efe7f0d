"""Deliveries as MQTT payloads, and when each is due (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.machine import START_NS
from foreshock_plant.parameters import CHANNELS
from foreshock_plant.sensor_faults import DECIMALS
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from foreshock_plant.sensor_faults import Messages

HOUR_NS: Final = 3600 * 1_000_000_000


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
    begun_ns: int = START_NS

    def plant_ns(self, now_s: float) -> int:
        """Return the plant time at a moment."""
        return self.begun_ns + int((now_s - self.begun_s) * self.hours_per_s * HOUR_NS)

    def due_s(self, plant_ns: int) -> float:
        """Return the moment at which a plant time comes."""
        return self.begun_s + (plant_ns - self.begun_ns) / HOUR_NS / self.hours_per_s


def sample_topic(machine: str) -> str:
    """Return the local topic on which a machine's sensors speak."""
    return f"plant/{check_id(machine, 'machine')}/sample"


def samples(messages: Messages) -> Iterator[Sample]:
    """Yield messages as they go out, in order of arrival; a missing channel dropped out."""
    for i in range(len(messages)):
        held = np.flatnonzero(~np.isnan(messages.values[i]))
        yield sample(
            messages.machines[messages.machine[i]],
            int(messages.arrival_ns[i]),
            int(messages.time_ns[i]),
            {CHANNELS[c]: round(float(messages.values[i, c]), DECIMALS) for c in held},
            copy=bool(messages.copy[i]),
        )


def sample(
    machine: str, arrival_ns: int, time_ns: int, values: Mapping[str, float], *, copy: bool = False
) -> Sample:
    """Return the message whose payload is `{"t": source time in ns, channel: value, ...}`."""
    payload = json.dumps({"t": time_ns, **values}, separators=(",", ":"))
    return Sample(machine, arrival_ns, time_ns, tuple(values), copy, payload.encode())
