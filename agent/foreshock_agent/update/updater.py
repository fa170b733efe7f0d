"""The update's flow: desired -> download -> verified -> self-test -> swap -> committed, reported.

A thread of its own, so that scoring never waits for an update. Every transition is durable before
it is told; a directive that came to its end is never tried again. A process that was killed in the
middle takes the (retained) directive again and goes on from the blocks it has.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_agent.update.errors import (
    FetchError,
    InterruptedTrialError,
    StoreError,
    UntrustedError,
    UpdateError,
)
from foreshock_agent.update.fetch import Download, Pacing
from foreshock_agent.update.store import TERMINAL, Outcome
from foreshock_agent.update.trial import Limits, run_trial
from foreshock_agent.update.trust import UNSIGNED
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError, MessageError
from foreshock_wire.messages import BlockRequest, Desired, DeviceState, Report
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreshock_agent.update.store import ModelStore
    from foreshock_wire.messages import ModelRef

log = logging.getLogger(__name__)

LONGEST_WAIT_S: Final = 1.0
FIRST_BEAT_S: Final = 2.0
LONGEST_BEAT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
INBOX: Final = 256


@dataclass(frozen=True, slots=True)
class _Directive:
    payload: bytes
    trusted: bool


@dataclass(frozen=True, slots=True)
class _Block:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    desired: Desired
    trusted: bool


class _InterruptedError(Exception):
    """Leave the update in progress without an outcome: a newer directive came, or the end."""


class Updater:
    """Brings the model that the centre desires onto this gateway.

    `publish(topic, payload)` sends to the cloud broker and may fail: what matters is asked or said
    again. `swap(model)` returns when the pipeline runs the model, and raises to keep the old one.
    `trusted()` says whether the broker that speaks right now may update this gateway.
    """

    def __init__(
        self,
        at: topics.Gateway,
        store: ModelStore,
        *,
        channels: Sequence[str],
        publish: Callable[[str, bytes], None],
        swap: Callable[[Model], None],
        trusted: Callable[[], bool],
        version: str = "",
        accounts: Callable[[], dict[str, int]] = dict,
        pacing: Pacing | None = None,
        limits: Limits | None = None,
        max_model_bytes: int = 64 << 20,
    ) -> None:
        self._at, self._store, self._channels = at, store, tuple(channels)
        self._publish, self._swap, self._trusted = publish, swap, trusted
        self._version, self._accounts = version, accounts
        self._pacing, self._limits = pacing or Pacing(), limits or Limits()
        self._max_model_bytes = max_model_bytes
        self._inbox: queue.Queue[_Directive | _Block | None] = queue.Queue(INBOX)
        self._next: _Wanted | None = None
        self._told = store.last_outcome()
        self._busy = False
        self._beat_at_s, self._beat_wait_s = math.inf, FIRST_BEAT_S
        self._reconnected = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="updater", daemon=True)
        self.refused_messages = 0
        self.moved_s = time.monotonic()

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
        """Take a directive; call it from the MQTT callback, whose connection is judged now."""
        self._put(_Directive(bytes(payload), self._trusted()))

    def on_block(self, topic: str, payload: bytes | bytearray) -> None:
        """Take a block; call it from the MQTT callback."""
        self._put(_Block(topic, bytes(payload)))

    def report(self) -> None:
        """Tell the centre where this gateway is; call it at each connection to the cloud.

        It is repeated after 2 s, then less and less often, at least once a minute or so.
        """
        self._reconnected.set()
        self._beat_wait_s = FIRST_BEAT_S
        self._beat_at_s = time.monotonic() + FIRST_BEAT_S
        self._tell()

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
        told = self._told
        report = Report(
            gateway=self._at.gateway,
            state=told.state if told else None,
            counter=told.counter if told else 0,
            reason=told.reason if told else "",
            model=self._store.current_sha256,
            version=self._version,
            accounts=self._accounts(),
        )
        self._say(topics.Up.REPORT, report.to_bytes())

    def _put(self, item: _Directive | _Block | None) -> None:
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
            if self._next is not None:
                wanted, self._next = self._next, None
                self._follow(wanted)

    def _receive(self, wait_s: float, download: Download | None = None) -> None:
        """Take the next thing that came, waiting up to `wait_s` for it."""
        self.moved_s = time.monotonic()
        self._beat()
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return
        try:
            if isinstance(item, _Directive):
                self._consider(Desired.from_bytes(item.payload), trusted=item.trusted)
            elif isinstance(item, _Block) and download is not None:
                download.take(*topics.parse_block(item.topic), item.payload)
        except MessageError as error:
            self.refused_messages += 1
            log.warning("a message about updates is ignored: %s", error)

    def _consider(self, desired: Desired, *, trusted: bool) -> None:
        """Keep a newer directive for the next turn; say again what became of a known one."""
        if desired.gateway != self._at.gateway:
            raise MessageError(f"Desired: it is for gateway {desired.gateway!r}")
        known = max(
            self._told.counter if self._told else 0,
            self._next.desired.counter if self._next else 0,
        )
        if desired.counter > known or self._left_unfinished(desired):
            self._next = _Wanted(desired, trusted)
        else:
            self._tell()

    def _left_unfinished(self, desired: Desired) -> bool:
        """Whether the process before this one was killed in the middle of this directive."""
        told = self._told
        return (
            not self._busy
            and told is not None
            and told.counter == desired.counter
            and told.state not in TERMINAL
        )

    def _interrupted(self) -> bool:
        """Whether to leave the update in progress: a newer directive came, or the end."""
        self.moved_s = time.monotonic()
        while not self._inbox.empty():
            self._receive(0)
        return self._next is not None or self._stopping.is_set()

    def _follow(self, wanted: _Wanted) -> None:
        self._busy = True
        try:
            self._update(wanted)
        except (_InterruptedError, InterruptedTrialError):
            log.info("directive %d is left for now", wanted.desired.counter)
        except _SwapError as error:
            self._end(wanted.desired, DeviceState.ROLLED_BACK, str(error))
        except (ForeshockError, OSError) as error:
            self._end(wanted.desired, DeviceState.REJECTED, str(error))
        except Exception as error:
            log.exception("a bug in the update of this gateway")
            self._end(wanted.desired, DeviceState.REJECTED, f"unexpected: {error!r}")
        finally:
            self._busy = False

    def _update(self, wanted: _Wanted) -> None:
        desired = wanted.desired
        if not wanted.trusted:
            raise UntrustedError(UNSIGNED)
        self._check_size(desired.model)
        self._fetch(desired)
        self._step(desired, DeviceState.VERIFIED)
        self._test(desired)
        self._exchange(desired)
        self._tidy()

    def _tidy(self) -> None:
        """Remove old files; what cannot be removed is no reason to call the update a failure."""
        try:
            self._store.prune()
        except OSError as error:
            log.warning("old model files stay: %s", error)

    def _check_size(self, ref: ModelRef) -> None:
        if ref.size > self._max_model_bytes:
            raise FetchError(
                f"the model has {ref.size} bytes, this gateway takes at most "
                f"{self._max_model_bytes}"
            )

    def _fetch(self, desired: Desired) -> None:
        self._step(desired, DeviceState.DOWNLOADING)
        ref = desired.model
        if self._store.verified(ref.sha256):
            return
        part = self._store.part(ref.sha256)
        with Download(ref, part, self._pacing) as download:
            self._pull(ref, download)
            resumed = download.resumed
        try:
            download.check()
        except FetchError:
            if not resumed:
                raise
            # The old part may have been torn by a power cut: once more, from the beginning.
            with Download(ref, part, self._pacing) as download:
                self._pull(ref, download)
            download.check()
        self._store.adopt(part, ref.sha256)

    def _pull(self, ref: ModelRef, download: Download) -> None:
        self._reconnected.clear()
        while not download.complete:
            if self._next is not None or self._stopping.is_set():
                raise _InterruptedError
            if self._reconnected.is_set():
                self._reconnected.clear()
                download.hurry()
            for index in download.requests(time.monotonic()):
                request = BlockRequest(sha256=ref.sha256, index=index)
                self._say(topics.Up.BLOCK, request.to_bytes())
            wait_s = min(download.wait_s(time.monotonic()), LONGEST_WAIT_S)
            self._receive(wait_s, download)

    def _test(self, desired: Desired) -> None:
        self._step(desired, DeviceState.SELF_TEST)
        path = self._store.path(desired.model.sha256)
        run_trial(path, self._channels, self._limits, self._interrupted)
        if self._interrupted():
            raise _InterruptedError

    def _exchange(self, desired: Desired) -> None:
        model = Model.load(self._store.path(desired.model.sha256))
        if model.sha256 != desired.model.sha256:
            raise FetchError("the model file changed on disk after its self-test")
        try:
            self._swap(model)
        except Exception as error:
            if self._stopping.is_set():
                # The pipeline ends too: that says nothing about the model.
                raise _InterruptedError from error
            raise _SwapError(f"the pipeline did not take the model: {error}") from error
        try:
            self._step(desired, DeviceState.COMMITTED)
        except StoreError as error:
            self._swap_back()
            raise _SwapError(f"the commit is not durable: {error}") from error

    def _swap_back(self) -> None:
        before = self._store.current()
        if before is not None:
            self._swap(Model.load(before))

    def _step(self, desired: Desired, state: DeviceState, reason: str = "") -> None:
        outcome = Outcome(desired.counter, state, desired.model.sha256, reason)
        self._store.record(outcome)
        self._told = outcome
        self._tell()

    def _end(self, desired: Desired, state: DeviceState, reason: str) -> None:
        log.warning("directive %d is %s: %s", desired.counter, state, reason)
        try:
            self._step(desired, state, reason)
        except StoreError as error:
            # Not durable, so it may be tried again after a restart; the centre hears it anyway.
            self._told = Outcome(desired.counter, state, desired.model.sha256, f"{reason}; {error}")
            self._tell()


class _SwapError(UpdateError):
    """The pipeline went back to the model before."""
