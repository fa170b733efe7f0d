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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_fleet.blocks import BlockService
from foreshock_fleet.directives import DirectiveSigner
from foreshock_fleet.errors import StateError
from foreshock_fleet.repository import Repository
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import COORDINATOR, now_ns
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError, MessageError
from foreshock_wire.files import hold
from foreshock_wire.trials import LiveHealth
from foreshock_wire.updates import BlockRequest, FileRequest, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_fleet.keys import KeyFolder
    from foreshock_fleet.state import Directive, FleetState, Heard
    from foreshock_wire.broker import BrokerAddress
    from foreshock_wire.updates import Envelope

log = logging.getLogger(__name__)

POLL_S: Final = 0.3
OFFER_AGAIN_S: Final = 30.0
"""Open directives are repeated this often: a broker may forget what it retained."""
INBOX: Final = 10_000


SILENT_AFTER_NS: Final = 5 * 60 * 10**9
"""A gateway says something every 75 s at least."""
BATCH: Final = 500
"""How many reports are committed together at most."""
ADVANCE_SHARE: Final = 0.1
"""Share of the time that may go into looking whether a rollout can go on."""


@dataclass(frozen=True, slots=True)
class _Message:
    topic: str
    payload: bytes
    mid: int
    qos: int


_CONNECTED: Final = object()


class Coordinator:
    """Serves one fleet on one broker until `stop`; `counts` says what it met on the way."""

    def __init__(
        self, broker: BrokerAddress, state: FleetState, repository: Repository, keys: KeyFolder
    ) -> None:
        self._broker, self._state, self._keys = broker, state, keys
        self._signed = SignedRepository(repository)
        self._signer = DirectiveSigner(self._signed, keys)
        self._blocks = BlockService(repository, lambda sha: state.release(sha).block_bytes)
        self._inbox: queue.Queue[_Message | object] = queue.Queue(INBOX)
        self._stopping = threading.Event()
        self._taken: list[_Message] = []
        self._heard: list[Heard] = []
        self._offered = self._told_stop = 0
        self._look_at = self._advance_at = self._offer_again_at = self._renew_at = 0.0
        self._listens_since_ns: int | None = None
        self._client = self._make_client()
        self.counts: Counter[str] = Counter()

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._state.client_id(),
            clean_session=False,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
            transport=self._broker.transport,
        )
        self._broker.prepare(client)
        client.reconnect_delay_set(min_delay=1, max_delay=15)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        return client

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is called; `ready` is called at each connection to the broker."""
        self._client.connect_async(self._broker.place, self._broker.port, keepalive=15)
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
            payload = bytes(message.payload)
            self._put(_Message(message.topic, payload, message.mid, message.qos))
        except Exception:
            # paho decodes the topic when it is read, and a topic may hold anything.
            log.exception("a message could not be taken in")
            self.counts["unreadable"] += 1
            self._client.ack(message.mid, message.qos)

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
                self._take_all(item)
            elif self._heard:
                self._commit()
            self._renew()
            self._offer()
        except ForeshockError as error:
            self.counts["errors"] += 1
            log.warning("%s", error)
        except Exception:
            self.counts["errors"] += 1
            log.exception("the coordinator met a bug in itself and goes on")

    def _connected(self, ready: Callable[[], None]) -> None:
        self._blocks.connection_lost()
        # What was not acknowledged comes again, and may have been committed: both are harmless.
        self._taken, self._heard = [], []
        self._offered = self._told_stop = 0
        self._look_at = 0.0
        self._listens_since_ns = now_ns()
        ready()

    def _take_all(self, first: _Message) -> None:
        """Answer what is asked at once, and commit together what was told meanwhile."""
        self._take(first)
        with suppress(queue.Empty):
            while len(self._heard) < BATCH and self._is_message_next():
                item = self._inbox.get_nowait()
                assert isinstance(item, _Message)  # noqa: S101 - just looked
                self._take(item)
        self._commit()

    def _is_message_next(self) -> bool:
        # Only this thread takes things out, so the first one stays the first one.
        waiting = self._inbox.queue
        return bool(waiting) and isinstance(waiting[0], _Message)

    def _commit(self) -> None:
        """Make what was told durable, and only then acknowledge it.

        Raises:
            StateError: the disk refuses; what was told is kept for the next turn.
        """
        try:
            for error in self._state.hear(self._heard, now_ns()) if self._heard else ():
                self._refuse(error)
        except StateError:
            raise
        except Exception:
            # It would come again for ever, and hold up everybody behind it.
            self.counts["errors"] += 1
            log.exception("%d reports met a bug and are dropped", len(self._heard))
        for message in self._taken:
            self._client.ack(message.mid, message.qos)
        self._taken, self._heard = [], []

    def _refuse(self, error: MessageError) -> None:
        self.counts["refused"] += 1
        log.warning("a message is refused: %s", error)

    def _take(self, message: _Message) -> None:
        self._taken.append(message)
        try:
            self._sort(message)
        except MessageError as error:
            self._refuse(error)

    def _sort(self, message: _Message) -> None:
        at, what = topics.parse_up(message.topic)
        if what is topics.Up.BLOCK:
            self._send(self._blocks.answer(at, BlockRequest.from_bytes(message.payload)))
        elif what is topics.Up.FILE:
            self._send(self._blocks.answer_file(at, FileRequest.from_bytes(message.payload)))
        else:
            kind = LiveHealth if what is topics.Up.HEALTH else Report
            self._hear(at, kind.from_bytes(message.payload))

    def _hear(self, at: topics.Gateway, told: Report | LiveHealth) -> None:
        if told.gateway != at.gateway:
            name = type(told).__name__
            raise MessageError(f"{name}: gateway {told.gateway!r} on the topic of {at.gateway!r}")
        self._heard.append((at, told))
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
        again = now >= self._offer_again_at
        if self._stop(again=again):
            return
        self._advance(now)
        for directive in self._state.directives(0 if again else self._offered):
            if directive.number > self._offered or directive.open:
                self._publish(directive)
            self._offered = max(self._offered, directive.number)
        if again:
            self._offer_again_at = now + OFFER_AGAIN_S
            self._look_for_silence()

    def _stop(self, *, again: bool) -> bool:
        """Tell everybody of an emergency stop, or of its end; say whether it stands."""
        stop = self._state.halted()
        if stop is None:
            return False
        if again or stop.number != self._told_stop:
            if stop.number != self._told_stop and not stop.halted:
                # Who left a directive because of the stop follows it now.
                self._offered = 0
            self._send_signed(topics.halt(), self._signer.sign_halt(stop))
            self._told_stop = stop.number
        return stop.halted

    def _advance(self, now_s: float) -> None:
        """Take the steps that are due; the larger the fleet, the less often it is looked at."""
        if now_s < self._advance_at:
            return
        self._state.advance(now_ns())
        took_s = time.monotonic() - now_s
        self._advance_at = now_s + took_s / ADVANCE_SHARE

    def _look_for_silence(self) -> None:
        """Who was silent while nobody listened is not to blame."""
        now = now_ns()
        if self._listens_since_ns is not None and now - self._listens_since_ns > SILENT_AFTER_NS:
            self._state.mark_silent(now - SILENT_AFTER_NS, now)

    def _publish(self, directive: Directive) -> None:
        topic = topics.down(directive.at, topics.Down.DESIRED)
        self._send_signed(topic, self._signer.sign(directive.at, directive.desired, now_ns()))
        self.counts["directives"] += 1

    def _send_signed(self, topic: str, envelope: Envelope) -> None:
        info = self._client.publish(topic, envelope.to_bytes(), qos=1, retain=True)
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            raise StateError(f"{topic} waits for the connection")


@contextmanager
def only_server(directory: Path) -> Iterator[None]:
    """Hold the lock that makes this process the only coordinator of this fleet.

    Raises:
        StateError: another process holds it.
    """
    try:
        lock = hold(directory / "serve.lock", wait=False)
    except BlockingIOError:
        raise StateError(
            f"another `foreshock fleet serve` runs on {directory}: two would give every "
            "gateway two directives"
        ) from None
    with lock:
        yield


def repository_of(directory: Path) -> Repository:
    """Return the signed repository inside a fleet's folder."""
    return Repository(directory / "repository")
