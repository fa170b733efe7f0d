"""What a person in the plant sees: each gateway's alarms and scores, and when they came."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foreshock_agent.mqtt.link import Delivery, Link, PahoLink, Session
from foreshock_agent.settings import BrokerSettings
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Alarm, AlarmState, Score, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock.brokers import Broker
    from foreshock_wire.topics import Gateway


@dataclass(frozen=True, slots=True)
class SeenAlarm:
    """An alarm that was raised, and when a subscriber had it (wall clock, ns)."""

    alarm: Alarm
    seen_ns: int


@dataclass(slots=True)
class Seen:
    """Everything seen so far; the lists only grow.

    `margins` are the model's, by machine and end of the window.
    """

    raised: list[SeenAlarm] = field(default_factory=list)
    scores: list[tuple[str, int, int]] = field(default_factory=list)
    margins: dict[tuple[str, int], float] = field(default_factory=dict)
    probability: dict[str, list[float]] = field(default_factory=dict)
    alarms: dict[str, Alarm] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)
    status: dict[str, Status] = field(default_factory=dict)
    newest_ns: int = 0


class Watcher:
    """Subscribers on the local brokers; `on_raised` is told of each new alarm."""

    def __init__(self, on_raised: Callable[[Alarm], None]) -> None:
        self.seen = Seen()
        self._on_raised = on_raised
        self._lock = threading.Lock()
        self._links: list[Link] = []

    def join(self, at: Gateway, broker: Broker) -> None:
        """Listen to one gateway."""
        link = PahoLink(
            BrokerSettings(port=broker.port, reconnect_max_s=1),
            Session(
                f"demo-watch-{at.gateway}",
                filters=[topics.status(at), topics.any_alarm(at), topics.any_score(at)],
                on_messages=lambda deliveries: self._take(at, deliveries),
            ),
        )
        self._links.append(link)
        link.start()

    def close(self) -> None:
        """Stop listening."""
        for link in self._links:
            link.stop()

    def _take(self, at: Gateway, deliveries: Sequence[Delivery]) -> bool:
        seen_ns = time.time_ns()
        with self._lock:
            for delivery in deliveries:
                self._note(at, delivery, seen_ns)
        return True

    def _note(self, at: Gateway, delivery: Delivery, seen_ns: int) -> None:
        kind = delivery.topic.rsplit("/", 1)[-1]
        try:
            if kind == "status":
                self.seen.status[at.gateway] = Status.from_bytes(delivery.payload)
            elif kind == "score":
                self._note_score(at, Score.from_bytes(delivery.payload), seen_ns)
            else:
                self._note_alarm(Alarm.from_bytes(delivery.payload), seen_ns)
        except ForeshockError:
            return

    def _note_score(self, at: Gateway, score: Score, seen_ns: int) -> None:
        seen = self.seen
        seen.scores.append((score.machine, score.time_ns, seen_ns))
        seen.machines[score.machine] = at.gateway
        seen.newest_ns = max(seen.newest_ns, score.time_ns)
        if score.margin is not None:
            seen.margins[score.machine, score.time_ns] = score.margin
        if score.probability is not None:
            seen.probability.setdefault(score.machine, []).append(score.probability)

    def _note_alarm(self, alarm: Alarm, seen_ns: int) -> None:
        before = self.seen.alarms.get(alarm.machine)
        self.seen.alarms[alarm.machine] = alarm
        fresh = before is None or alarm.episode > before.episode
        if fresh and alarm.state is AlarmState.UNACKNOWLEDGED:
            self.seen.raised.append(SeenAlarm(alarm, seen_ns))
            self._on_raised(alarm)
