"""Publishes recorded telemetry over MQTT, as the machines did when it was recorded.

In: a folder of `foreshock_wire.recorded`, whoever wrote it (`plant record`, `trainer data record`,
a gateway's uploads). Out: the same messages, log and pace as the simulated plant's. Readings of one
machine that arrived together with one source time are one message; nothing is made up, and the
order of arrival is kept.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_plant.feed import Feed, Sent
from foreshock_plant.samples import sample
from foreshock_wire.errors import ForeshockError
from foreshock_wire.recorded import read_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from foreshock_plant.link import BrokerAddress
    from foreshock_plant.samples import Sample
    from foreshock_wire.batch import Readings

_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Replayed(Sent):
    """What a replay published."""

    machines: int
    out: str

    def as_json(self) -> dict[str, int | str]:
        """Return the summary as one flat object."""
        return asdict(self)


class Replay:
    """A recording, published at pace, the i-th machine (by name) on broker i mod n.

    Args:
        brokers: the gateways' local brokers.
        recording: the folder; it is read at once.
        hours_per_s: plant hours a second; a gateway that is slower holds its own machines back.
        out: the folder of published.jsonl.

    Raises:
        ForeshockError: the folder is no recording, or holds no reading.
    """

    def __init__(
        self,
        brokers: Sequence[BrokerAddress],
        recording: Path,
        *,
        hours_per_s: float,
        out: Path,
    ) -> None:
        self.stop = threading.Event()
        self._brokers, self._hours_per_s, self._out = brokers, hours_per_s, out
        found = by_machine(read_batches(recording))
        self._machines = sorted(found)
        if not self._machines:
            raise ForeshockError(f"{recording} holds no readings to replay")
        count = len(brokers)
        self._shares = [
            in_order(found[name] for name in self._machines[i::count]) for i in range(count)
        ]

    @property
    def messages(self) -> int:
        """How many messages there are to publish."""
        return sum(map(len, self._shares))

    def run(self, progress: Callable[[int], object] = lambda _: None) -> Replayed:
        """Publish until everything is out or `stop` is set; the log is whole either way.

        `progress` is told now and then how many more messages are out.

        Raises:
            ForeshockError: `out` already holds a run, or publishing ended early.
        """
        feed = Feed(self._brokers, self._shares, self._out, self.stop)
        feed.start(self._hours_per_s, min(s[0].arrival_ns for s in self._shares if s))
        told = 0
        while feed.sending and not self.stop.wait(_POLL_S):
            progress(feed.published - told)
            told = feed.published
        sent = feed.finish()
        progress(sent.messages - told)
        return Replayed(**asdict(sent), machines=len(self._machines), out=str(self._out))


def by_machine(batches: Iterable[Readings]) -> dict[str, list[Sample]]:
    """Return each machine's messages in the order in which they arrived."""
    found: dict[str, list[Sample]] = {}
    for batch in batches:
        for sent in messages_of(batch):
            found.setdefault(sent.machine, []).append(sent)
    return found


def messages_of(batch: Readings) -> Iterator[Sample]:
    """Yield a batch's readings, grouped: neighbours with equal machine and times are one message.

    A channel that comes again begins a message of its own: a payload holds each channel once.
    """
    if not len(batch):
        return
    columns = (batch.machine, batch.time_ns, batch.received_ns)
    changes = np.flatnonzero(np.any([np.diff(column) != 0 for column in columns], axis=0)) + 1
    for start, stop in zip([0, *changes], [*changes, len(batch)], strict=True):
        values: dict[str, float] = {}
        for i in range(start, stop):
            channel = batch.channels[batch.channel[i]]
            if channel in values:
                yield _message(batch, start, values)
                values = {}
            values[channel] = shortest(batch.value[i])
        yield _message(batch, start, values)


def in_order(machines: Iterable[list[Sample]]) -> list[Sample]:
    """Merge machines by time of arrival; a machine's own order stays."""
    return sorted((one for sent in machines for one in sent), key=lambda one: one.arrival_ns)


def shortest(value: np.float32) -> float:
    """Return the shortest decimal that is this float32 again: 9046.19 and not 9046.1904296875."""
    return float(str(value))


def _message(batch: Readings, row: int, values: dict[str, float]) -> Sample:
    machine = batch.machines[batch.machine[row]]
    return sample(machine, int(batch.received_ns[row]), int(batch.time_ns[row]), values)
