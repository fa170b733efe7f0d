"""A client that notes what came, and when; and may say something itself."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire.broker import BrokerAddress

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, and the moment of `time.monotonic_ns` at which it was there."""

    at_ns: int
    topic: str
    payload: bytes
    retained: bool


class Ear:
    """Hears `topic_filter` with QoS 1 from the moment on that it is entered; a context manager."""

    def __init__(self, broker: str, topic_filter: str) -> None:
        self.heard: list[Heard] = []
        self._filter = topic_filter
        self._broker = BrokerAddress.parse(broker)
        self._subscribed = threading.Event()
        self._paho = mqtt.Client(CallbackAPIVersion.VERSION2, transport=self._broker.transport)
        self._paho.on_connect = lambda client, *_: client.subscribe(self._filter, 1)
        self._paho.on_subscribe = lambda *_: self._subscribed.set()
        self._paho.on_message = self._take

    def _take(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        heard = Heard(time.monotonic_ns(), message.topic, bytes(message.payload), message.retain)
        self.heard.append(heard)

    def say(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1, and return when the broker has it."""
        self.send(topic, payload).wait_for_publish(TIMEOUT_S)

    def send(self, topic: str, payload: bytes) -> mqtt.MQTTMessageInfo:
        """Publish with QoS 1, and return at once."""
        return self._paho.publish(topic, payload, qos=1)

    def await_next(self, topic: str, wanted: Callable[[Heard], bool] = lambda _: True) -> Heard:
        """Return the first such message that came since the last call; what came before is gone.

        Raises:
            TimeoutError: none came.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            for heard in self._news():
                if heard.topic == topic and wanted(heard):
                    return heard
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"nothing came on {topic}")
            time.sleep(POLL_S)

    def _news(self) -> list[Heard]:
        news, self.heard = self.heard, []
        return news

    def __enter__(self) -> Self:
        self._paho.connect(self._broker.place, self._broker.port)
        self._paho.loop_start()
        if not self._subscribed.wait(TIMEOUT_S):
            raise TimeoutError(f"the broker {self._broker} takes no subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()
