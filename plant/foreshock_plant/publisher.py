"""Publishes a plant over MQTT in accelerated time and logs each message (the composition root).

One link per gateway, so that a dead broker holds up its own machines only: its link waits with a
bounded number of unacknowledged messages and catches up later; nothing is skipped.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from foreshock_plant.link import Link
from foreshock_plant.machine import START_NS, machine_ids, simulate
from foreshock_plant.samples import HOUR_NS, Pace, Sample, samples
from foreshock_plant.sensor_faults import deliver, true_messages
from foreshock_plant.truth import EventLog, in_order, rfc3339, write_truth
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_plant.link import BrokerAddress

_CONNECT_S: Final = 10.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Published:
    """What a run published: `readings` counts values, copies included."""

    machines: int
    messages: int
    readings: int
    copies: int
    unacknowledged: int
    failures: int
    until: str
    out: str

    def as_json(self) -> dict[str, int | str]:
        """Return the summary as one flat object."""
        return asdict(self)


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


class Plant:
    """A whole plant: simulated at once, published at pace, machine i on broker i mod n."""

    def __init__(
        self,
        brokers: Sequence[BrokerAddress],
        *,
        machines: int,
        hours: float,
        hours_per_s: float,
        seed: int,
        out: Path,
    ) -> None:
        self.stop = threading.Event()
        self._brokers, self._seed, self._out = brokers, seed, out
        self._hours_per_s = hours_per_s
        self._end_ns = START_NS + int(hours * HOUR_NS)
        self._lives = [simulate(m, seed=seed, hours=hours) for m in machine_ids(machines)]

    def run(self) -> Published:
        """Publish until the hours are over or `stop` is set; files are whole either way.

        Raises:
            ForeshockError: `out` already holds a run, or publishing ended early.
        """
        self._out.mkdir(parents=True, exist_ok=True)
        if (self._out / "published.jsonl").exists():
            raise ForeshockError(f"{self._out} already holds a run: choose another --out")
        write_truth(self._out / "truth.npz", self._lives)
        published = PublishedLog(self._out / "published.jsonl")
        links = [
            Link(broker, self._share(i), published.add, self.stop)
            for i, broker in enumerate(self._brokers)
        ]
        pace = self._start(links)
        failures, until_ns = self._write_events(pace, links)
        unacknowledged = sum(link.finish() for link in links)
        published.close()
        return Published(
            machines=len(self._lives),
            messages=published.messages,
            readings=published.readings,
            copies=published.copies,
            unacknowledged=unacknowledged,
            failures=failures,
            until=rfc3339(until_ns),
            out=str(self._out),
        )

    def _share(self, index: int) -> list[Sample]:
        lives = self._lives[index :: len(self._brokers)]
        return list(samples(deliver(true_messages(lives), seed=self._seed))) if lives else []

    def _start(self, links: Sequence[Link]) -> Pace:
        for link in links:
            link.connect()
        deadline_s = time.monotonic() + _CONNECT_S
        for link in links:
            link.wait_connected(max(0.0, deadline_s - time.monotonic()))
        pace = Pace(time.monotonic(), self._hours_per_s)
        for link in links:
            link.start(pace)
        return pace

    def _write_events(self, pace: Pace, links: Sequence[Link]) -> tuple[int, int]:
        """Write each event when its time comes; return (failures, the plant time reached)."""
        failures = 0
        with EventLog(self._out / "events.csv") as log:
            for machine, event in in_order(self._lives):
                if event.time_ns < self._end_ns and self._reached(pace, event.time_ns):
                    log.add(machine, event)
                    failures += event.kind == "failure"
            self._reached(pace, self._end_ns)
            while any(link.sending for link in links) and not self.stop.wait(_POLL_S):
                pass
            until_ns = min(self._end_ns, pace.plant_ns(time.monotonic()))
            for life in self._lives:
                log.row(life.machine, until_ns, "observed_until")
        return failures, until_ns

    def _reached(self, pace: Pace, time_ns: int) -> bool:
        """Wait for a plant time; return False when the run was stopped before it."""
        wait_s = pace.due_s(time_ns) - time.monotonic()
        if wait_s > 0:
            self.stop.wait(wait_s)
        return time.monotonic() >= pace.due_s(time_ns)
