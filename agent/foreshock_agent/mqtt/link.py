"""What a connection to a broker promises; kept with paho-mqtt, whose known traps are shut here.

`mqtt/direct.py` keeps the same promises for the local broker at a fraction of the cost a message.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_agent.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock_agent.mqtt.subscriptions import Asked
    from foreshock_agent.settings import BrokerSettings

log = logging.getLogger(__name__)

HELD_S: Final = 0.02
"""After how long messages are offered again for which there was no room."""

LAST_WORD_S: Final = 2.0
"""How long a last message may take; a broker that hangs must not keep a process from ending."""


class Delivery(NamedTuple):
    """A message as it came; `connection` is another number for each connection of the link.

    `retained` says that it was said before we listened, nobody knows when.
    """

    topic: str
    payload: bytes
    packet_id: int
    qos: int
    dup: bool
    connection: int
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; one that is retained must arrive, any other is soon followed."""

    topic: str
    payload: bytes
    retain: bool = False

    @property
    def qos(self) -> int:
        """At least once, or at most once."""
        return 1 if self.retain else 0


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says when this client dies."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Session:
    """What a client wants of a broker, and who is told.

    With `durable`, the session persists at the broker and each QoS 1 message waits for `ack`, which
    reaches no other connection than the one that the message came by. `on_messages` runs in the
    link's thread, and returns false when it has no room: the same messages are offered again, and
    meanwhile nothing is read, which holds the broker back. `on_connect(session_present)` runs there
    too, after the subscriptions were sent and before any message. What was published and not
    acknowledged before is dropped then: it says anew what matters. Neither can end the thread.
    """

    client_id: str
    filters: Sequence[str]
    on_messages: Callable[[Sequence[Delivery]], bool]
    on_connect: Callable[[bool], None] = lambda _: None
    durable: bool = False
    will: Will | None = None


class Link(Protocol):
    """A connection to one broker, which heals itself and keeps the promises of a `Session`."""

    errors: int

    def start(self) -> None:
        """Begin to connect; a broker that is down is tried again for ever."""

    def stop(self) -> None:
        """Say goodbye and end the thread."""

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us, as far as we know."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Send if connected; return whether it was handed over."""

    def publish_all(self, messages: Sequence[Outgoing]) -> None:
        """Send these in their order, if connected."""

    def say_last(self, topic: str, payload: bytes) -> None:
        """Publish a retained message and wait for the broker: else `stop` would overtake it."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what was committed, unless it came by an earlier connection."""

    def follow(self, filters: Sequence[str]) -> None:
        """Listen to these topics from now on, through every later connection too."""


class PahoLink:
    """A `Link` by paho-mqtt."""

    def __init__(self, broker: BrokerSettings, session: Session) -> None:
        self._broker, self._session = broker, session
        self._subscriptions = Subscriptions(session.filters)
        self._connection = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.errors = 0
        self._address = broker.address
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            transport=self._address.transport,
            client_id=session.client_id,
            clean_session=not session.durable,
            manual_ack=session.durable,
        )
        self._prepare()

    def _prepare(self) -> None:
        client, broker = self._client, self._broker
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        client.on_subscribe = self._subscribed
        client.reconnect_delay_set(1, broker.reconnect_max_s)
        if (will := self._session.will) is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._address.prepare(client)

    def start(self) -> None:
        """Begin to connect; a broker that is down is tried again for ever."""
        address = self._address
        self._client.connect_async(address.place, address.port, self._broker.keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye and end the thread."""
        self._stopping.set()
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

    def publish_all(self, messages: Sequence[Outgoing]) -> None:
        """Send these in their order, if connected."""
        for one in messages:
            self.publish(one.topic, one.payload, qos=one.qos, retain=one.retain)

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
            asked = self._subscriptions.follow(filters)
            if self.connected:
                self._ask(asked)

    def _ask(self, asked: Asked) -> None:
        if asked.left:
            self._client.unsubscribe(asked.left)
        if asked.wanted:
            _, number = self._client.subscribe([(one, 1) for one in asked.wanted])
            if number is not None:
                self._subscriptions.asked(number, asked.wanted)

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: object,
        flags: mqtt.ConnectFlags,
        reason: Any,  # noqa: ANN401 - paho's ReasonCode
        _properties: object,
    ) -> None:
        if reason.is_failure:
            log.warning("broker %s refuses: %s", self._address, reason)
            return
        with self._lock:
            self._connection += 1
        # paho would send what was under way behind what `on_connect` says now: an old status or
        # alarm would be retained over the new one, and an old parcel go up beside its repetition.
        client.drop_out_messages()
        with self._lock:
            self._ask(self._subscriptions.anew())
        self._guarded(self._session.on_connect, bool(flags.session_present))

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
            refused = self._subscriptions.refused(number, (one.is_failure for one in reasons))
        for topic_filter in refused:
            self.errors += 1
            log.error("the broker refuses the subscription to %s", topic_filter)

    def _received(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self._guarded(self._deliver, message)

    def _deliver(self, message: mqtt.MQTTMessage) -> None:
        delivery = Delivery(
            message.topic,
            bytes(message.payload),
            message.mid,
            message.qos,
            message.dup,
            self._connection,
            message.retain,
        )
        while not self._session.on_messages([delivery]):
            if self._stopping.wait(HELD_S):
                return

    def _guarded(self, call: Callable[[Any], None], argument: object) -> None:
        """Keep an exception out of paho's thread, where it would end the loop in silence."""
        try:
            call(argument)
        except Exception:
            self.errors += 1
            log.exception("callback failed on %s", self._address)
