"""What the machines of the lab say, and who says it: one thread that publishes under load."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Final

from tests.agent.rig import Client, healthy, wait_for

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

MACHINES: Final = 3
PAUSE_S: Final = 0.01
METER: Final = "meter"
COUNT, STATE = "count", "state"
"""Two channels without a time of their own: one never repeats itself, one always does."""

Message = tuple[str, bytes]
Key = tuple[str, str, int]
"""(machine, channel, source time in ns)."""


class Plant(threading.Thread):
    """Publishes minute after minute until it is told to stop.

    A tenth of the messages come twice, a tenth a minute late; and two meters send bare numbers.
    """

    def __init__(self, client: Client, dice: random.Random) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._dice = dice
        self._interrupted = False
        self._stopping, self._leaving = threading.Event(), threading.Event()
        self._acknowledged = 0
        self.sent: list[Message] = []
        client.paho.on_publish = self._count
        client.paho.on_disconnect = self._note

    def run(self) -> None:
        """Publish."""
        slot = 0
        held: list[Message] = []
        while not self._stopping.wait(PAUSE_S):
            now = [
                (f"plant/pump-{one}/sample", healthy(one, slot))
                for one in range(MACHINES)
                for _ in range(2 if self._dice.random() < 0.1 else 1)
            ]
            late = [one for one in now if self._dice.random() < 0.1]
            self._publish([*(one for one in now if one not in late), *held])
            held = late
            if slot % 3 == 0:
                self._publish([(f"plain/{METER}/{COUNT}", b"%d" % slot)])
                self._publish([(f"plain/{METER}/{STATE}", b"1")])
            slot += 1
        self._publish(held)

    def _publish(self, messages: Sequence[Message]) -> None:
        for topic, payload in messages:
            while not self._in_order():
                if self._leaving.wait(0.005):
                    return
            self.sent.append((topic, payload))
            self._client.publish(topic, payload)

    def _in_order(self) -> bool:
        """Say whether a message may go: paho would let it overtake those of before a reconnect."""
        if not self._client.paho.is_connected():
            return False
        self._interrupted = self._interrupted and self._acknowledged < len(self.sent)
        return not self._interrupted

    def _count(self, *_: object) -> None:
        self._acknowledged += 1

    def _note(self, *_: object) -> None:
        self._interrupted = True

    def stop(self) -> None:
        """Stop, and wait until the broker has acknowledged everything."""
        self._stopping.set()
        wait_for(lambda: not self.is_alive(), "the plant")
        wait_for(lambda: self._acknowledged >= len(self.sent), "the broker's PUBACKs")

    def leave(self) -> None:
        """Stop at once, whatever was not sent."""
        self._stopping.set()
        self._leaving.set()
        self.join()


def keys(messages: Iterable[Message]) -> list[Key]:
    """Return the readings with a time of their own in these messages."""
    return [
        (topic.split("/")[1], channel, body["t"])
        for topic, payload in messages
        if topic.startswith("plant/")
        for body in [json.loads(payload)]
        for channel in body
        if channel != "t"
    ]
