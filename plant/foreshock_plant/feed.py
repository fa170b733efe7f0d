"""Samples on their way to the gateways' brokers, in accelerated time, each logged before it goes.

One link per gateway, so that a dead broker holds up its own machines only: its link waits with a
bounded number of unacknowledged messages and catches up later; nothing is skipped.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_plant.link import Link
from foreshock_plant.samples import Pace
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_plant.link import BrokerAddress
    from foreshock_plant.samples import Sample

LOG_FILE: Final = "published.jsonl"
_CONNECT_S: Final = 10.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Sent:
    """What a feed published: `readings` counts values, copies included."""

    messages: int
    readings: int
    copies: int
    unacknowledged: int


class PublishedLog:
    """published.jsonl: one line per message, flushed before the message goes to the broker."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.messages = self.readings = self.copies = 0

    def add(self, broker: BrokerAddress, sample: Sample) -> None:
        """Append one message."""
        line = {
            "site": broker.site,
            "gateway": broker.gateway,
            "topic": sample.topic,
            "published_ns": time.time_ns(),
            "machine": sample.machine,
            "time_ns": sample.time_ns,
            "channels": sample.channels,
            "copy": sample.copy,
            "payload": sample.payload.decode(),
        }
        with self._lock:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
            self.messages += 1
            self.readings += len(sample.channels)
            self.copies += sample.copy

    def close(self) -> None:
        """Make the file durable and close it."""
        os.fsync(self._file.fileno())
        self._file.close()


class Feed:
    """Publishes one share of samples to each broker, all at one pace.

    Args:
        brokers: the gateways' local brokers.
        shares: what each of them gets, in order of arrival.
        out: the folder of the log; made if need be.
        stop: ends everything early when it is set.

    Raises:
        ForeshockError: `out` already holds a run.
    """

    def __init__(
        self,
        brokers: Sequence[BrokerAddress],
        shares: Sequence[Sequence[Sample]],
        out: Path,
        stop: threading.Event,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        if (out / LOG_FILE).exists():
            raise ForeshockError(f"{out} already holds a run: choose another --out")
        self._stop = stop
        self._log = PublishedLog(out / LOG_FILE)
        self._links = [
            Link(broker, share, self._log.add, stop)
            for broker, share in zip(brokers, shares, strict=True)
        ]
        self._pace = Pace(0.0, 1.0)

    def start(self, hours_per_s: float, begin_ns: int) -> None:
        """Connect and begin to publish: at this moment it is `begin_ns` in the plant."""
        for link in self._links:
            link.connect()
        deadline_s = time.monotonic() + _CONNECT_S
        for link in self._links:
            link.wait_connected(max(0.0, deadline_s - time.monotonic()))
        self._pace = Pace(time.monotonic(), hours_per_s, begin_ns)
        for link in self._links:
            link.start(self._pace)

    def wait_until(self, time_ns: int) -> bool:
        """Wait for a plant time; return False when the run was stopped before it."""
        wait_s = self._pace.due_s(time_ns) - time.monotonic()
        if wait_s > 0:
            self._stop.wait(wait_s)
        return time.monotonic() >= self._pace.due_s(time_ns)

    def drain(self) -> None:
        """Wait until everything is published, or the run was stopped."""
        while self.sending and not self._stop.wait(_POLL_S):
            pass

    @property
    def sending(self) -> bool:
        """Whether there is something left to publish."""
        return any(link.sending for link in self._links)

    @property
    def published(self) -> int:
        """How many messages went out so far."""
        return self._log.messages

    @property
    def now_ns(self) -> int:
        """The plant time at this moment."""
        return self._pace.plant_ns(time.monotonic())

    def finish(self) -> Sent:
        """Wait for the last PUBACKs, disconnect, make the log durable, and sum up.

        Raises:
            ForeshockError: publishing ended early, for example because the log's disk is full.
        """
        unacknowledged = sum(link.finish() for link in self._links)
        self._log.close()
        return Sent(self._log.messages, self._log.readings, self._log.copies, unacknowledged)
