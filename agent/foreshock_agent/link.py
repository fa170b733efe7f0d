"""One MQTT connection that heals itself (paho-mqtt), with paho's known traps shut.

Callbacks never raise into paho's thread, subscriptions are made anew on each connect, and a message
is acknowledged only on the connection that it came by.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from foreshock_agent.settings import BrokerSettings

log = logging.getLogger(__name__)

LAST_WORD_S: Final = 2.0
"""How long a last message may take; a broker that hangs must not keep a process from ending."""


class CredentialsError(ForeshockError):
    """A password or certificate file that the settings name cannot be used."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came; `connection` is another number for each connection of the link."""

    topic: str
    payload: bytes
    packet_id: int
    qos: int
    dup: bool
    connection: int


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says when this client dies."""

    topic: str
    payload: bytes


class Link:
    """A connection to one broker.

    With `durable`, the session persists at the broker and each QoS 1 message waits for `ack`.
    `on_message` runs in paho's thread and may block, which is how the socket is held back;
    `on_connect(session_present)` runs there too, after the subscriptions were sent. What was
    published and not acknowledged before is dropped then: it says anew what matters.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        client_id: str,
        *,
        filters: Sequence[str],
        on_message: Callable[[Delivery], None],
        on_connect: Callable[[bool], None] = lambda _: None,
        durable: bool = False,
        will: Will | None = None,
    ) -> None:
        self._broker = broker
        self._filters, self._left = list(filters), set[str]()
        self._asked: dict[int | None, list[str]] = {}
        self._on_message = on_message
        self._on_connect = on_connect
        self._connection = 0
        self._lock = threading.Lock()
        self.errors = 0
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=not durable,
            manual_ack=durable,
        )
        self._prepare(will)

    def _prepare(self, will: Will | None) -> None:
        client, broker = self._client, self._broker
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_subscribe = self._subscribed
        client.on_socket_open = _without_delay
        client.reconnect_delay_set(1, broker.reconnect_max_s)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        try:
            self._set_credentials()
        except (OSError, ValueError) as error:
            raise CredentialsError(
                f"broker {broker.host}:{broker.port}: password_file or ca_file: {error}"
            ) from None

    def _set_credentials(self) -> None:
        broker = self._broker
        if broker.username is not None:
            secret = broker.password_file
            password = secret.read_text(encoding="utf-8").strip() if secret else None
            self._client.username_pw_set(broker.username, password)
        if broker.tls:
            ca = str(broker.ca_file) if broker.ca_file else None
            self._client.tls_set_context(ssl.create_default_context(cafile=ca))

    def start(self) -> None:
        """Begin to connect; a broker that is down is tried again for ever."""
        self._client.connect_async(self._broker.host, self._broker.port, self._broker.keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us, as far as we know."""
        return bool(self._client.is_connected())

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Send if connected; return whether it was handed over (paho would queue without bound)."""
        if not self.connected:
            return False
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    def say_last(self, topic: str, payload: bytes) -> None:
        """Publish a retained message and wait for the broker: else `stop` would overtake it."""
        if not self.connected:
            return
        info = self._client.publish(topic, payload, qos=1, retain=True)
        if info.rc == mqtt.MQTT_ERR_SUCCESS:
            info.wait_for_publish(LAST_WORD_S)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what was committed, unless it came by an earlier connection."""
        with self._lock:
            for delivery in deliveries:
                if delivery.qos and delivery.connection == self._connection:
                    self._client.ack(delivery.packet_id, delivery.qos)

    def follow(self, filters: Sequence[str]) -> None:
        """Listen to these topics from now on, through every later connection too."""
        with self._lock:
            before, self._filters = set(self._filters), list(filters)
            self._left = (self._left | before) - set(filters)
            if self.connected:
                self._ask([one for one in filters if one not in before], before - set(filters))

    def _ask(self, wanted: Sequence[str], left: Collection[str]) -> None:
        """Subscribe and unsubscribe. A session that persists keeps what nobody takes back."""
        if left:
            self._client.unsubscribe(sorted(left))
        if wanted:
            _, number = self._client.subscribe([(topic_filter, 1) for topic_filter in wanted])
            self._asked[number] = list(wanted)

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: object,
        flags: mqtt.ConnectFlags,
        reason: Any,  # noqa: ANN401 - paho's ReasonCode
        _properties: object,
    ) -> None:
        if reason.is_failure:
            log.warning("broker %s:%s refuses: %s", self._broker.host, self._broker.port, reason)
            return
        with self._lock:
            self._connection += 1
        # paho would send what was under way behind what `on_connect` says now: an old status or
        # alarm would be retained over the new one, and an old parcel go up beside its repetition.
        client.drop_out_messages()
        with self._lock:
            self._asked.clear()
            self._ask(self._filters, self._left)
        self._guarded(self._on_connect, bool(flags.session_present))

    def _disconnected(self, *_: object) -> None:
        """End this connection for `ack` too.

        What paho is given between its next attempt and the broker's answer goes out on the new
        connection, where a packet id may be another message.
        """
        with self._lock:
            self._connection += 1

    def _subscribed(
        self,
        _client: object,
        _userdata: object,
        number: int,
        reasons: list[Any],
        _properties: object,
    ) -> None:
        with self._lock:
            asked = self._asked.pop(number, [])
        for topic_filter, reason in zip(asked, reasons, strict=False):
            if reason.is_failure:
                self.errors += 1
                log.error("the broker refuses the subscription to %s: %s", topic_filter, reason)

    def _received(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self._guarded(self._deliver, message)

    def _deliver(self, message: mqtt.MQTTMessage) -> None:
        self._on_message(
            Delivery(
                message.topic,
                bytes(message.payload),
                message.mid,
                message.qos,
                message.dup,
                self._connection,
            )
        )

    def _guarded(self, call: Callable[[Any], None], argument: object) -> None:
        """Keep an exception out of paho's thread, where it would end the loop in silence."""
        try:
            call(argument)
        except Exception:
            self.errors += 1
            log.exception("callback failed on %s:%s", self._broker.host, self._broker.port)


def _without_delay(_client: object, _userdata: object, opened: Any) -> None:  # noqa: ANN401 - paho's
    """Send at once: else an alarm waits for the broker's delayed TCP acknowledgement, 40 ms."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
