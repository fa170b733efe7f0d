"""The life of a connection to the local broker: connect, take, acknowledge, keep alive, again.

One thread connects and reads. While the receiver has no room it reads nothing, which holds the
broker back, but goes on to send and to keep the connection alive.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Final

from foreshock_agent.mqtt import packets
from foreshock_agent.mqtt.channel import CONNECT_TIMEOUT_S, Channel, ConnectionEndedError
from foreshock_agent.mqtt.link import LAST_WORD_S, Delivery, Outgoing, Session
from foreshock_agent.mqtt.packets import Login, Packet, ProtocolError, Reader
from foreshock_agent.mqtt.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock_agent.mqtt.subscriptions import Asked
    from foreshock_agent.settings import BrokerSettings

log = logging.getLogger(__name__)

LEAST_GATHER_S: Final = 0.002
MOST_GATHER_S: Final = 0.020
WORTH_READING: Final = 8
"""Reads are so far apart that about as many messages share the cost of one, and of all that follows
it in the agent, within these bounds; after a silence there is no wait."""

POLL_S: Final = 1.0
HELD_S: Final = 0.02
FIRST_RETRY_S: Final = 1.0
STOP_TIMEOUT_S: Final = 5.0


class DirectLink:
    """A connection to one broker; `foreshock_agent.mqtt.link.Link` says what it promises."""

    def __init__(
        self, broker: BrokerSettings, session: Session, *, max_payload: int = 1 << 20
    ) -> None:
        self._broker, self._session, self._max_payload = broker, session, max_payload
        self._address = broker.address
        self._subscriptions = Subscriptions(session.filters)
        self._login, self._context = _login(broker, session), self._address.context()
        self._channel: Channel | None = None
        self._connection = 0
        self._ids = itertools.cycle(range(1, 65_536))
        self._last_word: int | None = None
        self._heard = threading.Event()
        self._stopping = threading.Event()
        self._changed = threading.Lock()
        self._held: list[Delivery] = []
        self._asked_s: float | None = None
        self._retry_s = FIRST_RETRY_S
        self._thread = threading.Thread(target=self._run, name="local-link", daemon=True)
        self.errors = 0

    # For all threads -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect; a broker that is down is tried again for ever."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and end the thread."""
        self._stopping.set()
        channel = self._channel
        if channel is not None:
            channel.send(packets.DISCONNECT)
            channel.wake()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us, as far as we know."""
        return self._channel is not None

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Send if connected; return whether it was handed over."""
        channel = self._channel
        if channel is None:
            return False
        number = next(self._ids)
        channel.send(packets.publish(topic, payload, number, qos=qos, retain=retain))
        return True

    def publish_all(self, messages: Sequence[Outgoing]) -> None:
        """Send these in their order, if connected: in one go, which is cheaper for both ends."""
        channel = self._channel
        if channel is not None and messages:
            packet, ids = packets.publish, self._ids
            channel.send(
                b"".join(
                    packet(one.topic, one.payload, next(ids), qos=one.qos, retain=one.retain)
                    for one in messages
                )
            )

    def say_last(self, topic: str, payload: bytes) -> None:
        """Publish a retained message and wait for the broker: else `stop` would overtake it."""
        channel, number = self._channel, next(self._ids)
        if channel is None:
            return
        self._heard.clear()
        self._last_word = number
        channel.send(packets.publish(topic, payload, number, qos=1, retain=True))
        self._heard.wait(LAST_WORD_S)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what was committed, unless it came by an earlier connection."""
        with self._changed:
            now = self._connection
            ids = [one.packet_id for one in deliveries if one.qos and one.connection == now]
            if ids and self._channel is not None:
                self._channel.send(packets.pubacks(ids))

    def follow(self, filters: Sequence[str]) -> None:
        """Listen to these topics from now on, through every later connection too."""
        with self._changed:
            asked = self._subscriptions.follow(filters)
            if self._channel is not None:
                self._ask(self._channel, asked)

    def _ask(self, channel: Channel, asked: Asked) -> None:
        if asked.left:
            channel.send(packets.unsubscribe(next(self._ids), asked.left))
        if asked.wanted:
            number = next(self._ids)
            self._subscriptions.asked(number, asked.wanted)
            channel.send(packets.subscribe(number, asked.wanted))

    # The thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._live()
            except (OSError, ConnectionEndedError, ProtocolError) as error:
                self._tell(error)
            except Exception:
                self.errors += 1
                log.exception("a bug in the connection to %s", self._address)
            # Jitter: clients that lost their broker together must not come back in step.
            self._stopping.wait(self._retry_s * random.uniform(0.75, 1.25))  # noqa: S311
            self._retry_s = min(2 * self._retry_s, self._broker.reconnect_max_s)

    def _tell(self, error: Exception) -> None:
        if not self._stopping.is_set():
            log.warning("broker %s: %s", self._address, str(error) or type(error).__name__)

    def _live(self) -> None:
        """One connection, from its first byte to its last."""
        channel = Channel.open(self._address, self._context)
        try:
            reader = Reader(self._connection + 1, self._max_payload)
            first = self._greeted(channel, reader)
            session_present = packets.session_present(first)
            self._begin(channel)
            self._guarded(lambda: self._session.on_connect(session_present))
            self._serve(channel, reader)
        finally:
            self._end(channel)

    def _greeted(self, channel: Channel, reader: Reader) -> Packet:
        """Say who we are; return the broker's answer. Messages right behind it are kept."""
        channel.send(packets.connect(self._login))
        until_s = time.monotonic() + CONNECT_TIMEOUT_S
        self._held = []
        while (left_s := until_s - time.monotonic()) > 0 and not self._stopping.is_set():
            if not channel.wait(min(left_s, POLL_S)):
                continue
            parsed = reader.feed(channel.read())
            self._held += parsed.deliveries
            if parsed.packets:
                return parsed.packets[0]
            if self._held:
                raise ProtocolError("a message before the CONNACK")
        raise ConnectionEndedError("it does not answer a CONNECT")

    def _begin(self, channel: Channel) -> None:
        """Make the connection the one that is acknowledged on and published to."""
        with self._changed:
            self._ask(channel, self._subscriptions.anew())
            self._connection += 1
            self._channel = channel
        self._asked_s, self._retry_s = None, FIRST_RETRY_S

    def _end(self, channel: Channel) -> None:
        with self._changed:
            self._channel = None
        channel.close()

    def _serve(self, channel: Channel, reader: Reader) -> None:
        read_s, gather_s = 0.0, LEAST_GATHER_S
        while not self._stopping.is_set():
            self._keep_alive(channel)
            if self._held and not self._handed_over():
                channel.wait(HELD_S, reading=False)
                continue
            if channel.wait(POLL_S):
                time.sleep(max(0.0, read_s + gather_s - time.monotonic()))
                before_s, read_s = read_s, time.monotonic()
                self._take(reader, channel.read())
                gather_s = gathering_s(read_s - before_s, len(self._held))

    def _take(self, reader: Reader, data: bytes) -> None:
        parsed = reader.feed(data)
        self._held = parsed.deliveries
        for packet in parsed.packets:
            self._answered(packet)
        self._asked_s = None

    def _handed_over(self) -> bool:
        """Give the receiver what is held; false while it has no room."""
        taken = self._guarded(lambda: self._session.on_messages(self._held))
        if taken is False:
            return False
        self._held = []
        return True

    def _answered(self, packet: Packet) -> None:
        if packet.kind == packets.PUBACK and packets.packet_id(packet) == self._last_word:
            self._heard.set()
        if packet.kind == packets.SUBACK:
            self._granted(packets.packet_id(packet), packet.body[2:])

    def _granted(self, number: int, codes: bytes) -> None:
        with self._changed:
            refused = self._subscriptions.refused(number, (one >= packets.REFUSED for one in codes))
        for topic_filter in refused:
            self.errors += 1
            log.error("the broker refuses the subscription to %s", topic_filter)

    def _keep_alive(self, channel: Channel) -> None:
        """Ping when we were silent for long; a broker that does not answer is gone (half-open).

        While we read nothing ourselves, its silence says nothing.
        """
        now_s, keepalive_s = time.monotonic(), self._broker.keepalive_s
        if self._held:
            self._asked_s = None
        elif self._asked_s is not None and now_s - self._asked_s > keepalive_s:
            raise ConnectionEndedError(f"no answer to a ping for {keepalive_s} s")
        if now_s - channel.sent_s >= keepalive_s / 2:
            channel.send(packets.PING)
            self._asked_s = self._asked_s or now_s

    def _guarded(self, call: Callable[[], bool | None]) -> bool | None:
        """Keep an exception of a receiver out of the connection; what it choked on is dropped."""
        try:
            return call()
        except Exception:
            self.errors += 1
            log.exception("callback failed on %s", self._address)
            return None


def gathering_s(elapsed_s: float, messages: int) -> float:
    """Return how long to gather before a next read, when so many messages came in `elapsed_s`."""
    worth_s = elapsed_s * WORTH_READING / max(messages, 1)
    return min(max(worth_s, LEAST_GATHER_S), MOST_GATHER_S)


def _login(broker: BrokerSettings, session: Session) -> Login:
    password = broker.address.password()
    return Login(
        session.client_id,
        broker.keepalive_s,
        not session.durable,
        session.will,
        broker.username,
        password,
    )
