"""Follows the directives that come over the cloud broker, in a thread of its own.

MQTT callbacks only put messages into the inbox; the thread takes them out, asks for what is missing
and reports. A process that was killed in the middle takes the (retained) directive again and goes
on from the blocks it has. What is done with a directive stands in `installer.py`.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_agent.update.errors import NoSuchFileError, UntrustedError
from foreshock_agent.update.fetch import Download, Pacing
from foreshock_agent.update.installer import Host, Installer, InterruptedUpdateError
from foreshock_agent.update.proving import Room
from foreshock_agent.update.trial import run_trial
from foreshock_wire import topics
from foreshock_wire.errors import MessageError
from foreshock_wire.signing import FILE_BLOCK_BYTES
from foreshock_wire.updates import BlockRequest, Envelope, FileRequest, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from foreshock_agent.update.installer import SelfTest
    from foreshock_agent.update.proving import Watch
    from foreshock_agent.update.store import ModelStore
    from foreshock_agent.update.trial import Limits
    from foreshock_agent.update.trust import Trust
    from foreshock_rules.alarms import AlarmPolicy
    from foreshock_wire.model import Model
    from foreshock_wire.trials import LiveHealth
    from foreshock_wire.updates import ModelRef

log = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 1.0
FIRST_BEAT_S: Final = 2.0
LONGEST_BEAT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
INBOX: Final = 256
FILE_TRIES: Final = 8
"""How often a block of metadata is asked for; the directive comes again, so this may give up."""


@dataclass(frozen=True, slots=True)
class _Directive:
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Halt:
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Block:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _File:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A directive for the next turn; `counter` is 0 while no known key has signed it."""

    envelope: Envelope
    counter: int


class Updater:
    """Brings the model that the centre desires onto this gateway.

    With `watch` and `policy` a model can be proven on live windows (`proving.Room`).
    `publish(topic, payload)` sends to the cloud broker and may fail: what matters is asked or said
    again. `swap(model)` returns when the pipeline runs the model, and raises to keep the old one.
    """

    def __init__(
        self,
        at: topics.Gateway,
        store: ModelStore,
        trust: Trust,
        *,
        channels: Sequence[str],
        publish: Callable[[str, bytes], None],
        swap: Callable[[Model], None],
        now_ns: Callable[[], int] = time.time_ns,
        version: str = "",
        session: str | None = None,
        self_test: SelfTest = run_trial,
        accounts: Callable[[], dict[str, int]] = dict,
        drift: Callable[[], dict[str, float]] = dict,
        watch: Callable[[Watch | None], None] | None = None,
        policy: Callable[[Model], AlarmPolicy] | None = None,
        history: Path | None = None,
        pacing: Pacing | None = None,
        limits: Limits | None = None,
        max_model_bytes: int = 64 << 20,
    ) -> None:
        self._at, self._store, self._publish = at, store, publish
        self._version, self._session = version, session
        self._accounts, self._drift = accounts, drift
        self._pacing = pacing or Pacing()
        self._inbox: queue.Queue[_Directive | _Halt | _Block | _File | None] = queue.Queue(INBOX)
        self._next: _Wanted | None = None
        self._halt: Envelope | None = None
        self._busy = False
        self._download: Download | None = None
        self._file: tuple[str, int] | None = None
        self._came: bytes | None = None
        self._beat_at_s, self._beat_wait_s = math.inf, FIRST_BEAT_S
        self._reconnected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="updater", daemon=True)
        self.refused_messages = 0
        self.moved_s = time.monotonic()
        room = None
        if watch is not None and policy is not None:
            room = Room(watch, policy, self._say_health, self._pause, history)
        host = Host(
            now_ns, swap, self._tell, self._interrupted, self._stopping.is_set, room, self_test
        )
        self._installer = Installer(
            at,
            store,
            trust,
            host,
            channels=channels,
            limits=limits,
            max_model_bytes=max_model_bytes,
        )

    def start(self) -> None:
        """Begin to follow directives."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; an update in progress goes on after the next start."""
        self._stopping.set()
        self._put(None)
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def on_desired(self, payload: bytes | bytearray) -> None:
        """Take a directive; call it from the MQTT callback."""
        self._put(_Directive(bytes(payload)))

    def on_halt(self, payload: bytes | bytearray) -> None:
        """Take an emergency stop, or its end; call it from the MQTT callback."""
        self._put(_Halt(bytes(payload)))

    def on_block(self, topic: str, payload: bytes | bytearray) -> None:
        """Take a block of a model file; call it from the MQTT callback."""
        self._put(_Block(topic, bytes(payload)))

    def on_file(self, topic: str, payload: bytes | bytearray) -> None:
        """Take a block of a metadata file; call it from the MQTT callback."""
        self._put(_File(topic, bytes(payload)))

    def report(self) -> None:
        """Tell the centre where this gateway is; call it at each connection to the cloud.

        It is repeated after 2 s, then less and less often, at least once a minute or so.
        """
        self._reconnected.set()
        self._beat_wait_s = FIRST_BEAT_S
        self._beat_at_s = time.monotonic() + FIRST_BEAT_S
        self._tell()
        for health in self._installer.healths:
            self._say_health(health)

    def _beat(self) -> None:
        """Say it again, less and less often: nobody may have listened yet."""
        now_s = time.monotonic()
        if now_s < self._beat_at_s:
            return
        self._beat_wait_s = min(2 * self._beat_wait_s, LONGEST_BEAT_S)
        # Jitter: a fleet that connected together must not report together for ever.
        self._beat_at_s = now_s + self._beat_wait_s * random.uniform(0.75, 1.25)  # noqa: S311
        self._tell()

    def _tell(self) -> None:
        told = self._installer.outcome
        report = Report(
            gateway=self._at.gateway,
            state=told.state if told else None,
            counter=told.counter if told else 0,
            reason=told.reason if told else "",
            model=self._store.current_sha256,
            version=self._version,
            accounts=self._accounts(),
            drift=self._drift(),
            problem=self._installer.problem,
            session=self._session,
        )
        self._say(topics.Up.REPORT, report.to_bytes())

    def _say_health(self, health: LiveHealth) -> None:
        self._say(topics.Up.HEALTH, health.to_bytes())

    def _pause(self, seconds: float) -> None:
        self._receive(seconds)

    def _put(self, item: _Directive | _Halt | _Block | _File | None) -> None:
        try:
            self._inbox.put_nowait(item)
        except queue.Full:
            # A lost block is asked for again, a lost directive is retained and repeated.
            self.refused_messages += 1

    def _say(self, what: topics.Up, payload: bytes) -> None:
        try:
            self._publish(topics.up(self._at, what), payload)
        except Exception as error:  # noqa: BLE001 - the network's errors are anybody's
            log.info("%s could not be sent to the cloud: %s", what, error)

    # The thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._receive(LONGEST_WAIT_S)
            if self._halt is not None:
                halt, self._halt = self._halt, None
                self._installer.follow_halt(halt, self)
            if self._next is not None:
                wanted, self._next = self._next, None
                self._follow(wanted)

    def _follow(self, wanted: _Wanted) -> None:
        self._busy = True
        try:
            self._installer.follow(wanted.envelope, self)
        finally:
            self._busy = False

    def _receive(self, wait_s: float) -> None:
        """Take the next thing that came, waiting up to `wait_s` for it."""
        self.moved_s = time.monotonic()
        self._beat()
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return
        try:
            if isinstance(item, _Directive):
                self._consider(item.payload)
            elif isinstance(item, _Halt):
                self._consider_halt(item.payload)
            elif isinstance(item, _Block) and self._download is not None:
                self._download.take(*topics.parse_block(item.topic), item.payload)
            elif isinstance(item, _File) and topics.parse_file(item.topic) == self._file:
                self._came = item.payload
        except MessageError as error:
            self.refused_messages += 1
            log.warning("a message about updates is ignored: %s", error)

    def _consider(self, payload: bytes) -> None:
        """Keep what may be a newer directive for the next turn; say again what became of others.

        While another is in progress, only one that known keys have signed displaces it: the rest
        waits, and is verified against the newest metadata when its turn comes.
        """
        try:
            envelope = Envelope.from_bytes(payload)
        except MessageError as error:
            self._installer.refuse(f"the directive is not signed: {error}")
            raise
        desired = self._installer.known(envelope)
        waiting = self._next.counter if self._next else 0
        if desired is None:
            if not waiting:
                self._next = _Wanted(envelope, 0)
        elif self._is_in_progress(desired.counter) or not self._installer.is_news(desired):
            self._tell()
        elif desired.counter > waiting:
            self._next = _Wanted(envelope, desired.counter)

    def _consider_halt(self, payload: bytes) -> None:
        """Follow it at once if it can be verified, or when the newest metadata is here."""
        envelope = Envelope.from_bytes(payload)
        if not self._installer.take_halt(envelope):
            self._halt = envelope

    def _is_in_progress(self, counter: int) -> bool:
        told = self._installer.outcome
        return self._busy and told is not None and told.counter == counter

    def _interrupted(self) -> bool:
        """Whether to leave the update in progress: a newer directive came, or the end."""
        self.moved_s = time.monotonic()
        while not self._inbox.empty():
            self._receive(0)
        return self._displaced()

    def _displaced(self) -> bool:
        newer = self._next is not None and self._next.counter > 0
        return self._stopping.is_set() or newer or self._is_stopped_meanwhile()

    def _is_stopped_meanwhile(self) -> bool:
        return self._busy and self._installer.halted

    # The source: the centre, over MQTT -----------------------------------------------------

    def model(self, ref: ModelRef, part: Path) -> bool:
        """Pull a model file, as many blocks at once as the window allows."""
        with Download(ref, part, self._pacing) as download:
            self._download = download
            try:
                self._pull(ref, download)
            finally:
                self._download = None
            return download.resumed > 0

    def _pull(self, ref: ModelRef, download: Download) -> None:
        self._reconnected.clear()
        while not download.complete:
            if self._displaced():
                raise InterruptedUpdateError
            if self._reconnected.is_set():
                self._reconnected.clear()
                download.hurry()
            for index in download.requests(time.monotonic()):
                request = BlockRequest(sha256=ref.sha256, index=index)
                self._say(topics.Up.BLOCK, request.to_bytes())
            wait_s = min(download.wait_s(time.monotonic()), LONGEST_WAIT_S)
            self._receive(wait_s)

    def metadata(self, name: str) -> Iterator[bytes]:
        """Pull a metadata file block by block; the shorter one is the last."""
        for index in itertools.count():
            block = self._ask(name, index)
            if not index and not block:
                raise NoSuchFileError(f"the centre has no {name}")
            yield block
            if len(block) < FILE_BLOCK_BYTES:
                return

    def _ask(self, name: str, index: int) -> bytes:
        self._file, self._came = (name, index), None
        for tries in range(FILE_TRIES):
            self._say(topics.Up.FILE, FileRequest(name=name, index=index).to_bytes())
            wait_s = min(self._pacing.first_s * 2**tries, self._pacing.longest_s)
            until_s = time.monotonic() + wait_s * random.uniform(0.75, 1.25)  # noqa: S311
            block = self._wait_for_file(until_s)
            if block is not None:
                return block
        raise UntrustedError(f"the centre does not answer when asked for {name}")

    def _wait_for_file(self, until_s: float) -> bytes | None:
        self._reconnected.clear()
        while self._came is None and (left_s := until_s - time.monotonic()) > 0:
            if self._displaced():
                raise InterruptedUpdateError
            if self._reconnected.is_set():
                return None
            self._receive(min(left_s, LONGEST_WAIT_S))
        if self._came is not None and len(self._came) > FILE_BLOCK_BYTES:
            raise UntrustedError(f"a block of metadata has {len(self._came)} bytes")
        return self._came
