"""What the machines of the agent's benchmarks say: made once, as MQTT frames ready for a socket.

Machines of five channels, one sample a second of their own time, in one of three forms: a reading a
message, or a hundred readings a message in columnar JSON or as a binary batch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from foreshock_converter.sample import CHANNELS as SAMPLE_CHANNELS
from foreshock_converter.sample import synthetic_windows, tiny_model
from foreshock_wire.batch import Readings
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

CHANNELS: Final = tuple(channel.id for channel in SAMPLE_CHANNELS)
LENGTH, STRIDE = 64, 16
SECOND_NS: Final = 1_000_000_000
BEGIN_NS: Final = 1_780_000_000 // STRIDE * STRIDE * SECOND_NS
BULK_STEPS: Final = 20
"""Steps of all channels that make a message of a hundred readings."""

FRAMES_A_CHUNK: Final = 50
"""Frames that go to the socket in one call."""


class Form(StrEnum):
    """How readings travel."""

    SINGLE = "single"
    JSON = "json"
    BINARY = "binary"

    @property
    def readings_a_message(self) -> int:
        """How many readings one message holds."""
        return 1 if self is Form.SINGLE else BULK_STEPS * len(CHANNELS)

    @property
    def topic(self) -> str:
        """The pattern of the topics, as the agent's settings have it."""
        return f"{self}/{{machine}}/sample"


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames in a file; beside it (.json) where each chunk of them ends."""

    path: Path
    form: Form
    messages: int
    readings: int
    machines: int


def model() -> bytes:
    """Return the model file that everybody scores with: 64 steps of 5 channels, every 16 steps."""
    return tiny_model(length=LENGTH, stride=STRIDE, period_s=1.0)


def write_frames(
    path: Path, form: Form, readings: int, machines: int, *, at_once: int = FRAMES_A_CHUNK
) -> Frames:
    """Write about `readings` readings of `machines` as PUBLISH frames of QoS 1, in order of time.

    Every machine says the same number of steps, so that the count is rounded up. `at_once` frames
    go to the socket in one call.
    """
    step = machines * len(CHANNELS) * (1 if form is Form.SINGLE else BULK_STEPS)
    rounds = -(-readings // step)
    ends: list[int] = []
    position = count = 0
    with path.open("wb") as file:
        for topic, payload in _messages(form, rounds, machines):
            count += 1
            position += file.write(publish_frame(topic, payload, 1 + (count - 1) % 65_535))
            if count % at_once == 0:
                ends.append(position)
    if count % at_once:
        ends.append(position)
    index = {"ends": ends, "at_once": at_once, "messages": count}
    path.with_suffix(".json").write_bytes(orjson.dumps(index))
    return Frames(path, form, count, rounds * step, machines)


def windows_due(frames: Frames) -> frozenset[tuple[str, int]]:
    """Return (machine, end in ns) of every whole window that a stream of single readings ends."""
    steps = frames.readings // frames.machines // len(CHANNELS)
    first = -(-LENGTH // STRIDE) * STRIDE
    ends = [BEGIN_NS + step * SECOND_NS for step in range(first, steps, STRIDE)]
    return frozenset((name, end_ns) for name in names(frames.machines) for end_ns in ends)


def names(machines: int) -> list[str]:
    """Return the machines' names."""
    return [f"m-{number:03}" for number in range(machines)]


def publish_frame(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Return a PUBLISH packet of QoS 1 (MQTT 3.1.1, section 3.3)."""
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name + struct.pack(">H", packet_id) + payload
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)[0], rest % 128
        length += bytes([digit | (128 if rest else 0)])
        if not rest:
            return b"\x32" + length + body


def window_to_come(steps: int) -> tuple[bytes, int, int]:
    """Return what a machine says from step `steps` up to the next end of a window.

    As columnar JSON, with that end in ns and the step after it.
    """
    end = (steps // STRIDE + 1) * STRIDE
    times = BEGIN_NS + np.arange(steps, end + 1) * SECOND_NS
    values = np.full((len(times), len(CHANNELS)), 50.0, np.float32)
    (payload,) = _payloads(Form.JSON, "", times, values)
    return payload, int(times[-1]), end + 1


def alarming(scored_by: bytes) -> tuple[list[bytes], bytes]:
    """Return what a new machine says before the alarm, and the reading that raises it.

    The window is the worst one of many for the model. Its newest step comes first: so the windows
    before it are over before they hold anything, and only the whole one is scored.
    """
    windows = synthetic_windows(400, len(CHANNELS), LENGTH, seed=1)[0]
    worst = windows[int(np.argmax(Model.load(scored_by).run(windows).margin))]
    times = BEGIN_NS + np.arange(LENGTH) * SECOND_NS
    before = [_columns(times[part], worst[part]) for part in (slice(-1, None), slice(-1))]
    last = orjson.dumps({"t": int(times[-1]) + SECOND_NS, CHANNELS[0]: 50.0})
    return before, last


def _columns(times: npt.NDArray[np.int64], values: Float32) -> bytes:
    told = values.astype(np.float64).round(4).T.tolist()
    columns = dict(zip(CHANNELS, told, strict=True))
    return orjson.dumps({"t": times.tolist(), **columns})  # NaN becomes null: no reading


def _messages(form: Form, rounds: int, machines: int) -> Iterator[tuple[str, bytes]]:
    steps = 1 if form is Form.SINGLE else BULK_STEPS
    chance = np.random.default_rng(7)
    level = 50 + 10 * np.arange(len(CHANNELS)) + chance.normal(size=(machines, 1, len(CHANNELS)))
    for turn in range(rounds):
        times = BEGIN_NS + (turn * steps + np.arange(steps)) * SECOND_NS
        values = (level + chance.normal(size=(machines, steps, len(CHANNELS)))).round(2)
        for name, own in zip(names(machines), values, strict=True):
            for payload in _payloads(form, name, times, own.astype(np.float32)):
                yield form.topic.format(machine=name), payload


def _payloads(
    form: Form, machine: str, times: npt.NDArray[np.int64], values: Float32
) -> Iterable[bytes]:
    if form is Form.BINARY:
        return [_binary(machine, times, values)]
    if form is Form.JSON:
        return [_columns(times, values)]
    told = values.astype(np.float64).round(2).T.tolist()
    t = int(times[0])
    return [
        orjson.dumps({"t": t, name: column[0]}) for name, column in zip(CHANNELS, told, strict=True)
    ]


def _binary(machine: str, times: npt.NDArray[np.int64], values: Float32) -> bytes:
    count, channels = values.shape
    at = np.tile(times, channels)
    return Readings(
        epoch="e1",
        first_seq=1,
        machines=[machine],
        channels=list(CHANNELS),
        machine=np.zeros(len(at), np.uint16),
        channel=np.repeat(np.arange(channels), count).astype(np.uint16),
        time_ns=at,
        received_ns=at,
        value=np.ascontiguousarray(values.T).ravel(),
        flags=np.zeros(len(at), np.uint8),
    ).to_bytes(1)
