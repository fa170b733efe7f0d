"""Sensors and links that lie (pure, seeded): true samples in, the delivery sequence out.

A fault takes one machine's messages and gives those that are left, changed, added or moved, and the
stretches in which it did so. `FAULTS` names them in the order in which they act: values first, then
messages, then time, then copies.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from foreshock_plant.machine import PERIOD_NS
from foreshock_plant.parameters import CHANNELS, FAULT_RATES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from foreshock_plant.machine import Life

    Int64 = npt.NDArray[np.int64]
    Float32 = npt.NDArray[np.float32]

SECOND_NS: Final = 1_000_000_000
MAX_LATE_NS: Final = 3 * 3600 * SECOND_NS
"""No message, and no copy of one, arrives later than this after its source time."""
MAX_SKEW_NS: Final = 50 * 60 * SECOND_NS
"""No clock is further off: more than a period, and less than the hour ahead of its own clock that a
gateway believes by default (`max_ahead_s`)."""
DECIMALS: Final = 4
"""Values are sent with so many."""
_MAX_LATE_STEPS: Final = MAX_LATE_NS // PERIOD_NS


@dataclass(frozen=True, slots=True)
class Messages:
    """Sensor messages in columns: n messages of up to 5 values.

    `machine` int32[n] indexes `machines`; `time_ns` (source, by the machine's own clock),
    `arrival_ns` and `taken_ns` (when the sample was really taken; nobody is sent it) int64[n], UTC;
    `values` float32[n, 5], NaN where the message does not hold the channel; `copy` bool[n] marks a
    message that was delivered before.
    """

    machines: tuple[str, ...]
    machine: npt.NDArray[np.int32]
    time_ns: Int64
    arrival_ns: Int64
    taken_ns: Int64
    values: Float32
    copy: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, index: npt.NDArray[Any]) -> Messages:
        """Return the messages that a mask or index chooses, in its order."""
        return Messages(self.machines, *(getattr(self, name)[index] for name in _COLUMNS))

    def readings(self) -> int:
        """Return how many values the messages hold, copies included."""
        return int(np.count_nonzero(~np.isnan(self.values)))


_COLUMNS: Final = ("machine", "time_ns", "arrival_ns", "taken_ns", "values", "copy")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The truth about one fault: from `begin_ns` to `end_ns` (exclusive, true UTC time).

    `channel` is empty where the whole message is concerned. `size` is the deviation that is largest
    in amount, with its sign: in the channel's unit for a value, in seconds for a time (a clock that
    is ahead is positive); NaN where nothing came.
    """

    machine: str
    channel: str
    fault: str
    begin_ns: int
    end_ns: int
    size: float

    def order(self) -> tuple[int, str, str, str]:
        """Return the key by which stretches stand in order of their beginning."""
        return self.begin_ns, self.machine, self.fault, self.channel


class Faulted(NamedTuple):
    """Messages after a fault (or all of them), and where they are not the truth."""

    messages: Messages
    stretches: tuple[Stretch, ...] = ()


Fault: TypeAlias = "Callable[[Messages, np.random.Generator], Faulted]"


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
        taken_ns=time_ns.copy(),
        values=np.concatenate(values).round(DECIMALS),
        copy=np.zeros(len(time_ns), dtype=np.bool_),
    )


def deliver(messages: Messages, *, seed: int, faults: Mapping[str, Fault] | None = None) -> Faulted:
    """Return the delivery sequence (faults applied per machine, then all in order of arrival).

    The stretches beside it stand in order of their beginning.
    """
    faults = FAULTS if faults is None else faults
    parts: list[Messages] = []
    stretches: list[Stretch] = []
    for index, name in enumerate(messages.machines):
        part = messages.take(np.flatnonzero(messages.machine == index))
        for fault_name, fault in faults.items():
            part, found = fault(part, _stream(seed, name, fault_name))
            stretches += found
        parts.append(part)
    stretches.sort(key=Stretch.order)
    return Faulted(_in_order(_concatenate(parts)), tuple(stretches))


def drift(messages: Messages, rng: np.random.Generator) -> Faulted:
    """A sensor's reading slides away from the truth until somebody calibrates it again."""

    def slide(values: Float32) -> Float32:
        way = np.linspace(0, 1, len(values), dtype=np.float32)
        return values * (1 + _share(rng, FAULT_RATES.drift_share) * way)

    steps = FAULT_RATES.drift_steps
    return _distorted(messages, rng, "drift", FAULT_RATES.drift, steps, slide)


def stuck(messages: Messages, rng: np.random.Generator) -> Faulted:
    """A sensor repeats one value for some samples on end."""

    def freeze(values: Float32) -> Float32:
        return np.full_like(values, values[0])

    steps = FAULT_RATES.stuck_steps
    return _distorted(messages, rng, "stuck", FAULT_RATES.stuck, steps, freeze)


def spikes(messages: Messages, rng: np.random.Generator) -> Faulted:
    """Single values are far off."""

    def jump(values: Float32) -> Float32:
        return values * (1 + _share(rng, FAULT_RATES.spike_share))

    return _distorted(messages, rng, "spikes", FAULT_RATES.spike, (1, 2), jump)


def dead_channel(messages: Messages, rng: np.random.Generator) -> Faulted:
    """A sensor is silent for some samples on end."""

    def nothing(values: Float32) -> Float32:
        return np.full_like(values, np.nan)

    rate, steps = FAULT_RATES.dead_channel, FAULT_RATES.dead_channel_steps
    done = _distorted(messages, rng, "dead_channel", rate, steps, nothing)
    return done._replace(messages=_holding(done.messages))


def silent_channel(messages: Messages, rng: np.random.Generator) -> Faulted:
    """Single values are missing from messages; their absence is its own record."""
    missing = rng.random(messages.values.shape) < FAULT_RATES.silent_channel
    values = np.where(missing, np.float32(np.nan), messages.values)
    return Faulted(_holding(replace(messages, values=values)))


def silent_message(messages: Messages, rng: np.random.Generator) -> Faulted:
    """Whole messages are missing; their absence is its own record."""
    return Faulted(messages.take(rng.random(len(messages)) >= FAULT_RATES.silent_message))


def late(messages: Messages, rng: np.random.Generator) -> Faulted:
    """Single messages come late, and so out of order; arrival times record it."""
    delay = rng.integers(PERIOD_NS // 2, MAX_LATE_NS, len(messages), endpoint=True)
    slow = rng.random(len(messages)) < FAULT_RATES.late
    return Faulted(_delayed(messages, np.where(slow, delay, 0)))


def held_back(messages: Messages, rng: np.random.Generator) -> Faulted:
    """A link holds messages for some samples, then lets them all go at once, in order."""
    release, stretches = messages.arrival_ns.copy(), []
    for start in np.flatnonzero(rng.random(len(messages)) < FAULT_RATES.hold):
        begin = messages.taken_ns[start]
        end = begin + PERIOD_NS * int(rng.integers(*FAULT_RATES.hold_steps, endpoint=True))
        held = (messages.taken_ns >= begin) & (messages.taken_ns < end)
        release[held] = np.maximum(release[held], end)
        stretches.append(_stretch(messages, "held_back", held, "", (end - begin) / SECOND_NS))
    return Faulted(_delayed(messages, release - messages.arrival_ns), tuple(stretches))


def clock_skew(messages: Messages, rng: np.random.Generator) -> Faulted:
    """A machine's clock is off by some minutes, runs on at a wrong rate, and is set right again.

    Two readings never get the same stamp: an offset is an odd number of nanoseconds and a period an
    even one, a rate is far from one, and a clock that was set right stays so for a while.
    """
    time_ns, stretches, right_from_ns = messages.time_ns.copy(), [], 0
    for start in np.flatnonzero(rng.random(len(messages)) < FAULT_RATES.skew):
        rows = slice(start, start + int(rng.integers(*FAULT_RATES.skew_steps)))
        offset_ns = _offset_ns(messages.taken_ns[rows], rng)
        if messages.taken_ns[start] < right_from_ns:
            continue
        time_ns[rows] += offset_ns
        worst_s = _worst(offset_ns / SECOND_NS)
        stretches.append(_stretch(messages, "clock_skew", rows, "", worst_s))
        right_from_ns = stretches[-1].end_ns + 2 * MAX_SKEW_NS
    return Faulted(_delayed(replace(messages, time_ns=time_ns), 0), tuple(stretches))


def repeated(messages: Messages, rng: np.random.Generator) -> Faulted:
    """Messages are sent again unchanged: at once, or some samples later; `copy` records it."""
    twice = messages.take(rng.random(len(messages)) < FAULT_RATES.copy)
    pause = PERIOD_NS * rng.integers(0, _MAX_LATE_STEPS, len(twice))
    pause[rng.random(len(twice)) < 0.5] = 0  # noqa: PLR2004 - half of the copies come at once
    copies = replace(_delayed(twice, pause), copy=np.ones(len(twice), dtype=np.bool_))
    return Faulted(_concatenate([messages, copies]))


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "drift": drift,
        "stuck": stuck,
        "spikes": spikes,
        "dead_channel": dead_channel,
        "silent_channel": silent_channel,
        "silent_message": silent_message,
        "late": late,
        "held_back": held_back,
        "clock_skew": clock_skew,
        "repeated": repeated,
    },
)
"""Registry of faults: one function and one entry here adds a fault everywhere."""


def _distorted(  # noqa: PLR0917 - what, how often, how long, and how
    messages: Messages,
    rng: np.random.Generator,
    fault: str,
    rate: float,
    steps: tuple[int, int],
    change: Callable[[Float32], Float32],
) -> Faulted:
    """Change stretches of single channels; `rate` is per value, `steps` [low, high) samples."""
    values, stretches = messages.values.copy(), []
    for start, channel in np.argwhere(rng.random(values.shape) < rate):
        rows = slice(start, start + int(rng.integers(*steps)))
        before = values[rows, channel].copy()
        values[rows, channel] = change(before).round(DECIMALS)
        size = _worst(values[rows, channel] - before)
        stretches.append(_stretch(messages, fault, rows, CHANNELS[channel], size))
    return Faulted(replace(messages, values=values), tuple(stretches))


def _stretch(
    messages: Messages, fault: str, rows: slice | npt.NDArray[Any], channel: str, size: float
) -> Stretch:
    taken_ns = messages.taken_ns[rows]
    machine = messages.machines[messages.machine[0]]
    begin, end = int(taken_ns[0]), int(taken_ns[-1]) + PERIOD_NS
    return Stretch(machine, channel, fault, begin, end, round(size, DECIMALS))


def _share(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    """Return a share of the true value, up or down."""
    return float(rng.uniform(*low_high) * rng.choice((-1.0, 1.0)))


def _offset_ns(taken_ns: Int64, rng: np.random.Generator) -> Int64:
    """Return how far a wrong clock is off at each moment."""
    sign = int(rng.choice((-1, 1)))
    step_s, rate = rng.uniform(*FAULT_RATES.skew_step_s), rng.uniform(*FAULT_RATES.skew_rate)
    offset_ns = (step_s * SECOND_NS + rate * (taken_ns - taken_ns[0])).astype(np.int64)
    odd: Int64 = sign * (np.minimum(offset_ns, MAX_SKEW_NS - 1) | 1)
    return odd


def _worst(deviation: npt.NDArray[np.floating[Any]]) -> float:
    """Return the deviation that is largest in amount."""
    return float(deviation[np.argmax(np.abs(deviation))])


def _holding(messages: Messages) -> Messages:
    """Drop messages that hold nothing any more."""
    return messages.take(np.flatnonzero((~np.isnan(messages.values)).any(axis=1)))


def _delayed(messages: Messages, delay_ns: Int64 | int) -> Messages:
    latest = messages.time_ns + MAX_LATE_NS
    return replace(messages, arrival_ns=np.minimum(messages.arrival_ns + delay_ns, latest))


def _in_order(messages: Messages) -> Messages:
    keys = (messages.copy, messages.machine, messages.time_ns, messages.arrival_ns)
    return messages.take(np.lexsort(keys))


def _concatenate(parts: Sequence[Messages]) -> Messages:
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS)
    return Messages(parts[0].machines, *columns)


def _stream(seed: int, machine: str, fault: str) -> np.random.Generator:
    key = hashlib.sha256(f"{machine}/{fault}".encode()).digest()
    sequence = np.random.SeedSequence([seed, int.from_bytes(key[:8], "big")])
    return np.random.Generator(np.random.PCG64(sequence))
