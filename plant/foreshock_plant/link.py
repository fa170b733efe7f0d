"""One gateway's connection: publishes its samples at pace, QoS 1, within a bounded window.

paho queues without bound while it is offline, so a link publishes only while it is connected and
fewer than `WINDOW` messages are unacknowledged; otherwise it waits and says so.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire.errors import ForeshockError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock_plant.samples import Pace, Sample

WINDOW: Final = 64
"""Unacknowledged messages a link allows before it waits."""
_WAIT_S: Final = 0.2
_LOG_EVERY_S: Final = 5.0
_LAST_ACKS_S: Final = 5.0
_ADDRESS = re.compile(r"([^/=]+)/([^/=]+)=(.+):(\d{1,5})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The local broker of one gateway."""

    site: str
    gateway: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address in `SITE/GATEWAY=HOST:PORT`.

        Raises:
            ForeshockError: it is none, or an id in it is not valid.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise ForeshockError(
                f"broker {text!r} is no address: write SITE/GATEWAY=HOST:PORT, "
                "for example works/gw-1=127.0.0.1:1883"
            )
        site, gateway, host, port = match.groups()
        return cls(check_id(site, "site"), check_id(gateway, "gateway"), host, int(port))

    def __str__(self) -> str:
        return f"{self.site}/{self.gateway}={self.host}:{self.port}"


class Link:
    """Sends one gateway's samples, in order, from a thread of its own."""

    def __init__(
        self,
        broker: BrokerAddress,
        samples: Sequence[Sample],
        record: Callable[[BrokerAddress, Sample], None],
        stop: threading.Event,
    ) -> None:
        self._broker, self._samples, self._record, self._stop = broker, samples, record, stop
        self._changed = threading.Condition()
        self._connected, self._in_flight = False, 0
        self._thread = threading.Thread(target=self._send_all, name=str(broker), daemon=True)
        self._pace: Pace | None = None
        self._error: Exception | None = None
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"plant-{broker.site}-{broker.gateway}"[:64]
        )
        self._client.max_inflight_messages_set(WINDOW)
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish

    def connect(self) -> None:
        """Begin to connect; paho goes on trying for as long as it takes."""
        self._client.connect_async(self._broker.host, self._broker.port)
        self._client.loop_start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Return whether the connection stands, after waiting for it for a while."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connected, timeout_s)

    def start(self, pace: Pace) -> None:
        """Begin to publish."""
        self._pace = pace
        self._thread.start()

    @property
    def sending(self) -> bool:
        """Whether there is something left to publish."""
        return self._thread.is_alive()

    def finish(self) -> int:
        """Wait for the last PUBACKs, disconnect and return how many never came.

        Raises:
            ForeshockError: publishing ended early, for example because the log's disk is full.
        """
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, _LAST_ACKS_S)
            left = self._in_flight
        self._client.disconnect()
        self._client.loop_stop()
        if self._error is not None:
            raise ForeshockError(f"{self._broker}: publishing ended: {self._error}")
        return left

    def _send_all(self) -> None:
        try:
            for sample in self._samples:
                if not (self._wait_until_due(sample) and self._wait_for_room()):
                    return
                self._record(self._broker, sample)
                self._client.publish(sample.topic, sample.payload, qos=1)
        except Exception as error:  # noqa: BLE001 - a thread's error is raised by finish()
            self._error = error
            self._stop.set()

    def _wait_until_due(self, sample: Sample) -> bool:
        """Return True when the sample is due, False when the run was stopped."""
        assert self._pace is not None  # noqa: S101 - start() set it
        wait_s = self._pace.due_s(sample.arrival_ns) - time.monotonic()
        return not (self._stop.wait(wait_s) if wait_s > 0 else self._stop.is_set())

    def _wait_for_room(self) -> bool:
        """Take a place in the window; return False when the run was stopped."""
        told_s = time.monotonic()
        with self._changed:
            while not (self._connected and self._in_flight < WINDOW):
                if self._stop.is_set():
                    return False
                self._changed.wait(_WAIT_S)
                if time.monotonic() - told_s > _LOG_EVERY_S:
                    told_s = time.monotonic()
                    _log.warning("%s: %s; waiting, nothing is skipped", self._broker, self._state())
            self._in_flight += 1
        return True

    def _state(self) -> str:
        if not self._connected:
            return "not connected"
        return f"{self._in_flight} messages unacknowledged"

    def _on_connect(self, *args: Any) -> None:  # noqa: ANN401 - paho's own signature
        reason = args[3]
        with self._changed:
            self._connected = not reason.is_failure
            self._changed.notify_all()
        if reason.is_failure:
            _log.warning("%s refuses the connection: %s", self._broker, reason)

    def _on_disconnect(self, *_: Any) -> None:  # noqa: ANN401 - paho's own signature
        with self._changed:
            self._connected = False

    def _on_publish(self, *_: Any) -> None:  # noqa: ANN401 - paho's own signature
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()
