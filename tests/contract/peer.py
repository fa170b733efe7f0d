"""An MQTT client as edge and centre use one: QoS 1, subscriptions confirmed, waits with a deadline.

MQTT 3.1.1, which every broker speaks; nothing in the contract needs more.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock.brokers import Broker

WAIT_S: Final = 30.0
Received = mqtt.MQTTMessage


class Peer:
    """One connected client; what arrives waits in order until it is taken."""

    def __init__(
        self,
        client_id: str = "",
        *,
        clean: bool = True,
        manual_ack: bool = False,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self._inbox: queue.Queue[Received] = queue.Queue()
        self._granted = threading.Event()
        self._connected = threading.Event()
        self.lost = threading.Event()
        self.session_present = False
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"peer-{uuid.uuid4().hex[:12]}",
            clean_session=clean,
            manual_ack=manual_ack,
        )
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.on_subscribe = lambda *_: self._granted.set()
        self.client.on_message = lambda _client, _data, message: self._inbox.put(message)
        if will is not None:
            self.client.will_set(will[0], will[1], qos=1, retain=True)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _more: Any) -> None:  # noqa: ANN401
        assert not reason.is_failure, reason
        self.session_present = flags.session_present
        self._connected.set()

    def connect(self, broker: Broker) -> None:
        self.client.connect(broker.host, broker.port, keepalive=30)
        self.client.loop_start()
        assert self._connected.wait(WAIT_S), "no CONNACK"

    def subscribe(self, *patterns: str) -> None:
        """Subscribe at QoS 1 and return when the broker has granted it."""
        self._granted.clear()
        self.client.subscribe([(pattern, 1) for pattern in patterns])
        assert self._granted.wait(WAIT_S), "no SUBACK"

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1 and return when the broker has acknowledged it."""
        info = self.client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(WAIT_S)
        assert info.is_published(), "no PUBACK"

    def take(self, count: int) -> list[Received]:
        """Return the next `count` messages; fails when they do not come."""
        deadline, taken = time.monotonic() + WAIT_S, list[Received]()
        while len(taken) < count:
            try:
                taken.append(self._inbox.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"{len(taken)} of {count} messages came") from None
        return taken

    def take_until(self, payload: bytes) -> list[Received]:
        """Return all messages up to one with this payload, which is left out."""
        taken = self.take(1)
        while taken[-1].payload != payload:
            taken += self.take(1)
        return taken[:-1]

    def acknowledge(self, *messages: Received) -> None:
        """Acknowledge (with `manual_ack`) and return when the broker has heard it.

        A QoS 1 exchange of our own comes after the acknowledgements on the same connection.
        """
        for one in messages:
            self.client.ack(one.mid, one.qos)
        self.publish("other", b"")

    def drop(self) -> None:
        """Lose the connection as a power cut would: the socket closes, no DISCONNECT is sent."""
        self.client.loop_stop()
        link = self.client.socket()
        assert link is not None
        link.close()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def peer(
    broker: Broker,
    *patterns: str,
    client_id: str = "",
    clean: bool = True,
    manual_ack: bool = False,
    will: tuple[str, bytes] | None = None,
) -> Iterator[Peer]:
    """A peer that is connected and has its subscriptions granted."""
    one = Peer(client_id, clean=clean, manual_ack=manual_ack, will=will)
    one.connect(broker)
    try:
        if patterns:
            one.subscribe(*patterns)
        yield one
    finally:
        one.close()
