"""Publishes a simulated plant over MQTT in accelerated time, beside it what really happened."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from foreshock_plant.feed import Feed, Sent
from foreshock_plant.machine import START_NS, machine_ids, simulate
from foreshock_plant.samples import HOUR_NS, samples
from foreshock_plant.sensor_faults import Faulted, deliver, true_messages
from foreshock_plant.truth import EventLog, in_order, write_faults, write_truth
from foreshock_wire.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_plant.link import BrokerAddress


@dataclass(frozen=True, slots=True)
class Published(Sent):
    """What a run published."""

    machines: int
    failures: int
    until: str
    out: str

    def as_json(self) -> dict[str, int | str]:
        """Return the summary as one flat object."""
        return asdict(self)


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
        used = self._brokers[: len(self._lives)]
        shares = [self._share(i) for i in range(len(used))]
        sent = [list(samples(share.messages)) for share in shares]
        feed = Feed(used, sent, self._out, self.stop)
        write_truth(self._out / "truth.npz", self._lives)
        write_faults(self._out / "faults.csv", [one for share in shares for one in share.stretches])
        feed.start(self._hours_per_s, START_NS)
        failures, until_ns = self._write_events(feed)
        return Published(
            **asdict(feed.finish()),
            machines=len(self._lives),
            failures=failures,
            until=rfc3339(until_ns),
            out=str(self._out),
        )

    def _share(self, index: int) -> Faulted:
        lives = self._lives[index :: len(self._brokers)]
        return deliver(true_messages(lives), seed=self._seed)

    def _write_events(self, feed: Feed) -> tuple[int, int]:
        """Write each event when its time comes; return (failures, the plant time reached)."""
        failures = 0
        with EventLog(self._out / "events.csv") as log:
            for machine, event in in_order(self._lives):
                if event.time_ns < self._end_ns and feed.wait_until(event.time_ns):
                    log.add(machine, event)
                    failures += event.kind == "failure"
            feed.wait_until(self._end_ns)
            feed.drain()
            until_ns = min(self._end_ns, feed.now_ns)
            for life in self._lives:
                log.row(life.machine, until_ns, "observed_until")
        return failures, until_ns
