"""The ingest worker's connection to the cloud broker: one thread, one socket, healed for ever."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_trainer.ingest import Message
from foreshock_wire.topics import Down, down, shard_filter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_trainer.ingest import Answer
    from foreshock_wire.broker import BrokerAddress

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5.0
FIRST_DELAY_S: Final = 0.2
MAX_DELAY_S: Final = 10.0
STABLE_S: Final = 5.0
"""A connection that lasted this long was good; the next one is tried without delay."""


class UplinkLink:
    """Receives uploads and sends answers; `poll` does all the work, in the caller's thread.

    One thread is the back-pressure: while a commit runs nobody reads the socket, so what cannot
    be committed yet waits at the broker and not in our memory.
    """

    def __init__(self, broker: BrokerAddress, client_id: str, shards: Iterable[int]) -> None:
        self._broker = broker
        self._filters = [(shard_filter(shard), 1) for shard in shards]
        self._messages: list[Message] = []
        self._open = False
        self._opened_s = 0.0
        self._failures = 0
        self._retry_s = 0.0
        self.connects = 0
        """How often the broker has accepted us."""
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            transport=broker.transport,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        broker.prepare(self._client)

    def poll(self, timeout_s: float) -> list[Message]:
        """Serve the connection, or try for one, for `timeout_s`; return what came.

        Returns early when something happens. A broker that is away is no error: it is tried again
        after a pause that grows and is jittered, so that a fleet of workers does not call at once.
        """
        if self._open:
            code = self._client.loop(timeout_s)
            if code != mqtt.MQTT_ERR_SUCCESS:
                self._failed(mqtt.error_string(code))
        elif (wait_s := self._retry_s - time.monotonic()) > 0:
            time.sleep(min(wait_s, timeout_s))
        else:
            self._connect()
        messages, self._messages = self._messages, []
        return messages

    def answer(self, answers: Iterable[Answer]) -> None:
        """Tell the gateways; what the broker is not there to take, their next resend asks again."""
        for at, ack in answers:
            # paho would queue without bound while there is no connection.
            if self._client.is_connected():
                self._client.publish(down(at, Down.ACK), ack.to_bytes(), qos=1)

    def close(self) -> None:
        """Give the shards up and say goodbye.

        What the broker would keep for a worker that never comes back, because its shards were
        handed to others, fills its memory for ever; what it does not keep, gateways send again.
        """
        if self._open and self._client.is_connected():
            self._client.unsubscribe([name for name, _ in self._filters])
            self._client.loop(0.0)
        self._client.disconnect()
        if self._open:
            self._client.loop(0.0)

    def _connect(self) -> None:
        self._opened_s = time.monotonic()
        try:
            self._client.connect(self._broker.place, self._broker.port, keepalive=KEEPALIVE_S)
        except OSError as error:
            self._failed(str(error))
        else:
            self._open = True

    def _failed(self, why: str) -> None:
        self._open = False
        now_s = time.monotonic()
        self._failures = 0 if now_s - self._opened_s > STABLE_S else min(self._failures + 1, 16)
        limit_s = min(FIRST_DELAY_S * 2**self._failures, MAX_DELAY_S)
        delay_s = random.uniform(limit_s / 4, limit_s)  # noqa: S311 - jitter, no secret
        self._retry_s = now_s + delay_s
        log.warning("broker %s: %s; again in %.1f s", self._broker, why, delay_s)

    def _connected(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        reason: Any,  # noqa: ANN401 - paho's ReasonCode
        _properties: object,
    ) -> None:
        if reason.is_failure:
            log.error("broker %s refuses this worker: %s", self._broker, reason)
            return
        self.connects += 1
        log.info("connected to broker %s", self._broker)
        # Each time: a broker may have lost the session (the embedded one always does).
        client.subscribe(self._filters)

    def _subscribed(
        self,
        client: mqtt.Client,
        _userdata: object,
        _packet_id: int,
        reasons: list[Any],
        _properties: object,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            log.error("broker %s refuses the subscription to our shards", self._broker)
            client.disconnect()

    def _received(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "(a topic that is not UTF-8)"
        self._messages.append(Message(topic, bytes(message.payload), time.time_ns()))
