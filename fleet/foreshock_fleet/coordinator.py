"""The process that serves the fleet: directives down, reports and block requests up.

MQTT callbacks only put messages into an inbox; one loop takes them out and is the only one that
touches the state. It also sees the rollouts that the command line wrote there.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_fleet.blocks import BlockService
from foreshock_fleet.directives import DirectiveSigner
from foreshock_fleet.errors import StateError
from foreshock_fleet.files import locked
from foreshock_fleet.repository import Repository
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import COORDINATOR, now_ns
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError, MessageError
from foreshock_wire.messages import BlockRequest, FileRequest, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.state import Directive, FleetState

log = logging.getLogger(__name__)

POLL_S: Final = 0.3
OFFER_AGAIN_S: Final = 30.0
"""Open directives are repeated this often: a broker may forget what it retained."""
INBOX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the cloud broker listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes


_CONNECTED: Final = object()


class Coordinator:
    """Serves one fleet on one broker until `stop`; `counts` says what it met on the way."""

    def __init__(
        self, broker: Broker, state: FleetState, repository: Repository, keys: KeyFolder
    ) -> None:
        self._broker, self._state, self._keys = broker, state, keys
        self._signed = SignedRepository(repository)
        self._signer = DirectiveSigner(self._signed, keys)
        self._blocks = BlockService(repository, lambda sha: state.release(sha).block_bytes)
        self._inbox: queue.Queue[_Message | object] = queue.Queue(INBOX)
        self._stopping = threading.Event()
        self._offered = 0
        self._look_at = self._offer_again_at = self._renew_at = 0.0
        self._client = self._make_client()
        self.counts: Counter[str] = Counter()

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._state.client_id(),
            clean_session=False,
            protocol=mqtt.MQTTv311,
        )
        client.reconnect_delay_set(min_delay=1, max_delay=15)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        return client

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is called; `ready` is called at each connection to the broker."""
        self._client.connect_async(self._broker.host, self._broker.port, keepalive=15)
        self._client.loop_start()
        try:
            while not self._stopping.is_set():
                self._turn(ready)
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def stop(self) -> None:
        """Make `run` return soon; callable from a signal handler."""
        self._stopping.set()

    # paho's thread: an exception that leaves a callback would end it in silence ----------------

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, code: Any, ___: Any) -> None:  # noqa: ANN401
        if code.is_failure:
            log.warning("the broker refuses the coordinator: %s", code)
            return
        client.subscribe([(topics.any_up(what), 1) for what in topics.Up])
        self._put(_CONNECTED)

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:  # noqa: ANN401
        try:
            self._put(_Message(message.topic, bytes(message.payload)))
        except Exception:
            # paho decodes the topic when it is read, and a topic may hold anything.
            log.exception("a message could not be taken in")
            self.counts["unreadable"] += 1

    def _put(self, item: _Message | object) -> None:
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            self.counts["overflow"] += 1

    # The loop ----------------------------------------------------------------------------------

    def _turn(self, ready: Callable[[], None]) -> None:
        try:
            item = self._inbox.get(timeout=POLL_S)
        except queue.Empty:
            item = None
        try:
            if item is _CONNECTED:
                self._connected(ready)
            elif isinstance(item, _Message):
                self._take(item)
            self._renew()
            self._offer()
        except MessageError as error:
            self.counts["refused"] += 1
            log.warning("a message is refused: %s", error)
        except ForeshockError as error:
            self.counts["errors"] += 1
            log.warning("%s", error)
        except Exception:
            self.counts["errors"] += 1
            log.exception("the coordinator met a bug in itself and goes on")

    def _connected(self, ready: Callable[[], None]) -> None:
        self._blocks.connection_lost()
        self._offered = 0
        self._look_at = 0.0
        ready()

    def _take(self, message: _Message) -> None:
        at, what = topics.parse_up(message.topic)
        if what is topics.Up.BLOCK:
            self._send(self._blocks.answer(at, BlockRequest.from_bytes(message.payload)))
        elif what is topics.Up.FILE:
            self._send(self._blocks.answer_file(at, FileRequest.from_bytes(message.payload)))
        else:
            self._note(at, message)

    def _note(self, at: topics.Gateway, message: _Message) -> None:
        report = Report.from_bytes(message.payload)
        if report.gateway != at.gateway:
            raise MessageError(f"Report: gateway {report.gateway!r} on the topic of {at.gateway!r}")
        self._state.note_report(at, report, now_ns())
        self.counts["reports"] += 1

    def _send(self, answer: tuple[str, bytes] | None) -> None:
        if answer is None or not self._client.is_connected():
            self.counts["blocks_postponed"] += 1
            return
        topic, data = answer
        info = self._client.publish(topic, data, qos=0)
        self._blocks.sending(
            lambda: info.rc != mqtt.MQTT_ERR_SUCCESS or info.is_published(), len(data)
        )
        self.counts["blocks"] += 1

    def _renew(self) -> None:
        """Sign anew what will expire, and use the keys that count now: they may be rotated."""
        now = time.monotonic()
        if now < self._renew_at:
            return
        self._renew_at = now + OFFER_AGAIN_S
        if renewed := self._signed.renew(self._keys, datetime.now(UTC)):
            self._state.note(COORDINATOR, "metadata renewed", {"roles": renewed}, now_ns())
        self._signer.reload()

    def _offer(self) -> None:
        """Publish the directives that are new since the last time or, at times, all open ones."""
        now = time.monotonic()
        if now < self._look_at or not self._client.is_connected():
            return
        self._look_at = now + POLL_S
        self._state.advance(now_ns())
        again = now >= self._offer_again_at
        for directive in self._state.directives(0 if again else self._offered):
            if directive.number > self._offered or directive.open:
                self._publish(directive)
            self._offered = max(self._offered, directive.number)
        if again:
            self._offer_again_at = now + OFFER_AGAIN_S

    def _publish(self, directive: Directive) -> None:
        topic = topics.down(directive.at, topics.Down.DESIRED)
        envelope = self._signer.sign(directive.at, directive.desired, now_ns())
        info = self._client.publish(topic, envelope.to_bytes(), qos=1, retain=True)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise StateError(f"the directive for {directive.at.gateway} waits for the connection")
        self.counts["directives"] += 1


@contextmanager
def only_server(directory: Path) -> Iterator[None]:
    """Hold the lock that makes this process the only coordinator of this fleet.

    Raises:
        StateError: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(directory / "serve.lock", wait=False))
        except BlockingIOError:
            raise StateError(
                f"another `foreshock fleet serve` runs on {directory}: two would give every "
                "gateway two directives"
            ) from None
        yield


def repository_of(directory: Path) -> Repository:
    """Return the signed repository inside a fleet's folder."""
    return Repository(directory / "repository")
