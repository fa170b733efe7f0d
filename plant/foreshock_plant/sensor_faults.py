"""Sensors and links that lie (pure, seeded): true samples in, the delivery sequence out.

A fault takes one machine's messages and gives those that are left, added or moved. `FAULTS` names
them in the order in which they act: values first, then messages, then time, then copies.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from foreshock_plant.machine import PERIOD_NS
from foreshock_plant.parameters import FAULT_RATES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from foreshock_plant.machine import Life

MAX_LATE_NS: Final = 3 * 3600 * 1_000_000_000
"""No message, and no copy of one, arrives later than this after its source time."""
_MAX_LATE_STEPS: Final = MAX_LATE_NS // PERIOD_NS


@dataclass(frozen=True, slots=True)
class Messages:
    """Sensor messages in columns: n messages of up to 5 values.

    `machine` int32[n] indexes `machines`; `time_ns` (source) and `arrival_ns` int64[n], UTC;
    `values` float32[n, 5], NaN where the message does not hold the channel; `copy` bool[n] marks a
    message that was delivered before.
    """

    machines: tuple[str, ...]
    machine: npt.NDArray[np.int32]
    time_ns: npt.NDArray[np.int64]
    arrival_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    copy: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, index: npt.NDArray[Any]) -> Messages:
        """Return the messages that a mask or index chooses, in its order."""
        return Messages(
            self.machines,
            self.machine[index],
            self.time_ns[index],
            self.arrival_ns[index],
            self.values[index],
            self.copy[index],
        )

    def readings(self) -> int:
        """Return how many values the messages hold, copies included."""
        return int(np.count_nonzero(~np.isnan(self.values)))


Fault: TypeAlias = "Callable[[Messages, np.random.Generator], Messages]"


def true_messages(lives: Sequence[Life]) -> Messages:
    """Return what perfect sensors and links would deliver, machine by machine."""
    sent = [np.flatnonzero(life.running) for life in lives]
    time_ns = np.concatenate([life.time_ns[k] for life, k in zip(lives, sent, strict=True)])
    values = [life.values[k] for life, k in zip(lives, sent, strict=True)]
    return Messages(
        machines=tuple(life.machine for life in lives),
        machine=np.repeat(np.arange(len(lives), dtype=np.int32), [len(k) for k in sent]),
        time_ns=time_ns,
        arrival_ns=time_ns.copy(),
        values=np.concatenate(values).round(4),
        copy=np.zeros(len(time_ns), dtype=np.bool_),
    )


def deliver(
    messages: Messages, *, seed: int, faults: Mapping[str, Fault] | None = None
) -> Messages:
    """Return the delivery sequence: faults applied per machine, then all in order of arrival."""
    faults = FAULTS if faults is None else faults
    parts = []
    for index, name in enumerate(messages.machines):
        part = messages.take(np.flatnonzero(messages.machine == index))
        for fault_name, fault in faults.items():
            part = fault(part, _stream(seed, name, fault_name))
        parts.append(part)
    return _in_order(_concatenate(parts))


def dead_channel(messages: Messages, rng: np.random.Generator) -> Messages:
    """A sensor is silent for some samples on end."""
    count, channels = messages.values.shape
    values = messages.values.copy()
    for start, channel in np.argwhere(rng.random((count, channels)) < FAULT_RATES.dead_channel):
        values[start : start + int(rng.integers(*FAULT_RATES.dead_channel_steps)), channel] = np.nan
    return _holding(replace(messages, values=values))


def silent_channel(messages: Messages, rng: np.random.Generator) -> Messages:
    """Single values are missing from messages."""
    missing = rng.random(messages.values.shape) < FAULT_RATES.silent_channel
    values = np.where(missing, np.float32(np.nan), messages.values)
    return _holding(replace(messages, values=values))


def silent_message(messages: Messages, rng: np.random.Generator) -> Messages:
    """Whole messages are missing."""
    return messages.take(rng.random(len(messages)) >= FAULT_RATES.silent_message)


def late(messages: Messages, rng: np.random.Generator) -> Messages:
    """Single messages come late, and so out of order."""
    delay = rng.integers(PERIOD_NS // 2, MAX_LATE_NS, len(messages), endpoint=True)
    slow = rng.random(len(messages)) < FAULT_RATES.late
    return _delayed(messages, np.where(slow, delay, 0))


def held_back(messages: Messages, rng: np.random.Generator) -> Messages:
    """A link holds messages for some samples, then lets them all go at once, in order."""
    release = messages.arrival_ns.copy()
    for start in np.flatnonzero(rng.random(len(messages)) < FAULT_RATES.hold):
        end = messages.time_ns[start] + PERIOD_NS * int(
            rng.integers(*FAULT_RATES.hold_steps, endpoint=True)
        )
        held = (messages.time_ns >= messages.time_ns[start]) & (messages.time_ns < end)
        release[held] = np.maximum(release[held], end)
    return _delayed(messages, release - messages.arrival_ns)


def repeated(messages: Messages, rng: np.random.Generator) -> Messages:
    """Messages are sent again unchanged: at once, or some samples later."""
    twice = messages.take(rng.random(len(messages)) < FAULT_RATES.copy)
    pause = PERIOD_NS * rng.integers(0, _MAX_LATE_STEPS, len(twice))
    pause[rng.random(len(twice)) < 0.5] = 0  # noqa: PLR2004 - half of the copies come at once
    copies = replace(_delayed(twice, pause), copy=np.ones(len(twice), dtype=np.bool_))
    return _concatenate([messages, copies])


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "dead_channel": dead_channel,
        "silent_channel": silent_channel,
        "silent_message": silent_message,
        "late": late,
        "held_back": held_back,
        "repeated": repeated,
    },
)
"""Registry of faults: one function and one entry here adds a fault everywhere."""


def _holding(messages: Messages) -> Messages:
    """Drop messages that hold nothing any more."""
    return messages.take(np.flatnonzero((~np.isnan(messages.values)).any(axis=1)))


def _delayed(messages: Messages, delay_ns: npt.NDArray[np.int64]) -> Messages:
    latest = messages.time_ns + MAX_LATE_NS
    return replace(messages, arrival_ns=np.minimum(messages.arrival_ns + delay_ns, latest))


def _in_order(messages: Messages) -> Messages:
    keys = (messages.copy, messages.machine, messages.time_ns, messages.arrival_ns)
    return messages.take(np.lexsort(keys))


def _concatenate(parts: Sequence[Messages]) -> Messages:
    return Messages(
        parts[0].machines,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("machine", "time_ns", "arrival_ns", "values", "copy")
        ),
    )


def _stream(seed: int, machine: str, fault: str) -> np.random.Generator:
    key = hashlib.sha256(f"{machine}/{fault}".encode()).digest()
    sequence = np.random.SeedSequence([seed, int.from_bytes(key[:8], "big")])
    return np.random.Generator(np.random.PCG64(sequence))
