"""From a signed directive to the model that runs, or a reason why not; the transport is a `Source`.

verify -> admit -> fetch -> self-test -> shadow -> swap -> trial -> commit. Every transition is
durable before it is told; a directive that came to its end is never tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from foreshock_agent.clock import PLAUSIBLE_NS
from foreshock_agent.update.errors import (
    DeferredError,
    FetchError,
    InterruptedTrialError,
    StoreError,
    SwapError,
    TrialError,
    UntrustedError,
)
from foreshock_agent.update.proving import Diary, Proving
from foreshock_agent.update.store import TERMINAL, Outcome, Stop
from foreshock_agent.update.times import Validity, admit
from foreshock_agent.update.trial import Limits, run_trial
from foreshock_rules.windows import WindowSpec
from foreshock_wire.errors import ForeshockError
from foreshock_wire.model import Model
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_agent.update.proving import Room
    from foreshock_agent.update.store import ModelStore
    from foreshock_agent.update.trust import Trust, Trusted
    from foreshock_wire.topics import Gateway
    from foreshock_wire.trials import LiveHealth
    from foreshock_wire.updates import Desired, Envelope, Halt, ModelRef

log = logging.getLogger(__name__)


SelfTest = Callable[[Path, Sequence[str], Limits, Callable[[], bool]], None]
"""Called as `run_trial` is."""


class InterruptedUpdateError(Exception):
    """Leave the update in progress without an outcome: something newer came, or the end."""


class Source(Protocol):
    """Where metadata and model files come from: the centre's broker, or a folder on a stick."""

    def metadata(self, name: str) -> Iterator[bytes]:
        """Give a metadata file's blocks.

        Raises:
            NoSuchFileError: there is no such file.
        """

    def model(self, ref: ModelRef, part: Path) -> bool:
        """Bring a model file's bytes into `part`; return whether some were there already.

        Raises:
            FetchError: it cannot be had.
        """


@dataclass(frozen=True, slots=True)
class Host:
    """What the installer needs of the process around it.

    `swap(model)` returns when the pipeline runs the model, and raises to keep the old one.
    `told()` is called after each durable transition. `interrupted()` says to leave. Without `room`
    there are no live windows (the agent does not run), and a model is committed after its test.
    `self_test` is asked whether a model file may run here: by default in a child process.
    """

    now_ns: Callable[[], int]
    swap: Callable[[Model], None]
    told: Callable[[], None]
    interrupted: Callable[[], bool] = lambda: False
    ending: Callable[[], bool] = lambda: False
    room: Room | None = None
    self_test: SelfTest = run_trial


class Installer:
    """Follows directives for one gateway; `outcome` and `problem` say how far it is."""

    def __init__(
        self,
        at: Gateway,
        store: ModelStore,
        trust: Trust,
        host: Host,
        *,
        channels: Sequence[str],
        limits: Limits | None = None,
        max_model_bytes: int = 64 << 20,
    ) -> None:
        self._at, self._store, self._trust, self._host = at, store, trust, host
        self._channels, self._limits = tuple(channels), limits or Limits()
        self._max_model_bytes = max_model_bytes
        self._trusted: Trusted | None = None
        self.outcome = store.last_outcome()
        self.diary = Diary(store.directory / "trial.json")
        self.problem = self._halt_text() if self.halted else ""

    @property
    def healths(self) -> list[LiveHealth]:
        """The finished blocks of the newest directive's trial."""
        mine = self.outcome is not None and self.diary.counter == self.outcome.counter
        return list(self.diary.healths) if mine else []

    def known(self, envelope: Envelope) -> Desired | None:
        """Return the directive if the keys that were verified last have signed it."""
        if self._trusted is None:
            return None
        try:
            return self._bound(self._trusted.directive(envelope))
        except UntrustedError:
            return None

    def is_news(self, desired: Desired) -> bool:
        """Say whether a verified directive is to be followed: newer, or left before its end."""
        told = self.outcome
        if told is None or desired.counter > told.counter:
            return True
        return desired.counter == told.counter and told.state not in TERMINAL

    def follow(self, envelope: Envelope, source: Source) -> None:
        """Verify a directive and, if it is news, bring its model to run or tell why not."""
        if self.halted:
            self.refuse(self._halt_text())
            return
        try:
            desired = self._verified(envelope, source)
        except (UntrustedError, FetchError) as error:
            self.refuse(str(error))
            return
        except InterruptedUpdateError:
            return
        except Exception as error:
            # What an attacker sends may break what reads it; it must not end the thread.
            log.exception("a bug in the verification of updates")
            self.refuse(f"unexpected: {error!r}")
            return
        self.problem = ""
        if self.is_news(desired):
            self._try(desired, source)
        else:
            self._host.told()

    @property
    def halted(self) -> bool:
        """Whether the fleet's emergency stop stands: then no model is changed here."""
        return self._store.stop.halted

    def take_halt(self, envelope: Envelope) -> bool:
        """Follow an emergency stop, or its end, if keys that are known already have signed it."""
        if self._trusted is None:
            return False
        try:
            self._note_halt(self._trusted.halt(envelope))
        except UntrustedError:
            return False
        return True

    def follow_halt(self, envelope: Envelope, source: Source) -> None:
        """Bring the metadata up to date, and follow an emergency stop that it then verifies."""
        try:
            self._note_halt(self._refresh(source).halt(envelope))
        except (UntrustedError, FetchError, StoreError) as error:
            self.refuse(f"an emergency stop is not followed: {error}")
        except InterruptedUpdateError:
            return

    def _note_halt(self, halt: Halt) -> None:
        if not self._store.note_stop(Stop(halt.number, halt.halted, halt.reason)):
            return
        log.warning("the emergency stop is %s", "on" if halt.halted else "over")
        self.problem = self._halt_text() if halt.halted else ""
        self._host.told()

    def _halt_text(self) -> str:
        reason = self._store.stop.reason
        return f"the fleet is stopped{': ' if reason else ''}{reason}"

    def refuse(self, reason: str) -> None:
        """Tell of what is no directive of ours; it has no counter, so nothing of it is kept."""
        if reason != self.problem:
            log.warning("a directive is not followed: %s", reason)
        self.problem = reason
        self._host.told()

    def _verified(self, envelope: Envelope, source: Source) -> Desired:
        return self._bound(self._refresh(source).directive(envelope))

    def _refresh(self, source: Source) -> Trusted:
        floor_ns = max(self._store.floor_ns, PLAUSIBLE_NS)
        self._trusted = self._trust.refresh(source.metadata, floor_ns)
        return self._trusted

    def _bound(self, desired: Desired) -> Desired:
        if (desired.site, desired.gateway) != (self._at.site, self._at.gateway):
            raise UntrustedError(f"the directive is for {desired.site}/{desired.gateway}")
        if desired.issued_ns is None or desired.expires_ns is None:
            raise UntrustedError("the directive is not bound to a time")
        return desired

    def _try(self, desired: Desired, source: Source) -> None:
        try:
            self._admit(desired)
            self._update(desired, source)
        except (InterruptedUpdateError, InterruptedTrialError):
            log.info("directive %d is left for now", desired.counter)
        except DeferredError as error:
            self._end(desired, DeviceState.DEFERRED, str(error))
        except SwapError as error:
            self._end(desired, DeviceState.ROLLED_BACK, str(error))
        except (ForeshockError, OSError) as error:
            self._end(desired, DeviceState.REJECTED, str(error))
        except Exception as error:
            log.exception("a bug in the update of this gateway")
            self._end(desired, DeviceState.REJECTED, f"unexpected: {error!r}")

    def _admit(self, desired: Desired) -> None:
        assert self._trusted is not None  # noqa: S101 - just verified
        assert desired.issued_ns is not None  # noqa: S101 - bound
        assert desired.expires_ns is not None  # noqa: S101 - bound
        expires = {"directive": desired.expires_ns, **self._trusted.expires_ns()}
        validity = Validity(desired.issued_ns, expires)
        self._store.raise_floor(admit(self._host.now_ns(), self._store.floor_ns, validity))

    def _update(self, desired: Desired, source: Source) -> None:
        assert self._trusted is not None  # noqa: S101 - just verified
        self._trusted.check_released(desired.model)
        self._check_size(desired.model)
        self._fetch(desired, source)
        self._step(desired, DeviceState.VERIFIED)
        self._test(desired)
        self._bring_in(desired)
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

    def _fetch(self, desired: Desired, source: Source) -> None:
        self._step(desired, DeviceState.DOWNLOADING)
        ref = desired.model
        if self._store.verified(ref.sha256):
            return
        part = self._store.part(ref.sha256)
        resumed = source.model(ref, part)
        if not self._store.take_in(part, ref.sha256) and resumed:
            # What was resumed may have been torn by a power cut: once more, from the beginning.
            source.model(ref, part)
            self._store.take_in(part, ref.sha256)
        if not self._store.path(ref.sha256).exists():
            raise FetchError(
                f"the file is not the {ref.sha256[:12]} that was promised: tampered with or "
                "damaged on the way"
            )

    def _test(self, desired: Desired) -> None:
        self._step(desired, DeviceState.SELF_TEST)
        path = self._store.path(desired.model.sha256)
        self._host.self_test(path, self._channels, self._limits, self._host.interrupted)
        if self._host.interrupted():
            raise InterruptedUpdateError

    def _bring_in(self, desired: Desired) -> None:
        """Swap and commit; in between prove the model beside the champion, if that is wanted."""
        model = Model.load(self._store.path(desired.model.sha256))
        if model.sha256 != desired.model.sha256:
            raise FetchError("the model file changed on disk after its self-test")
        proving = self._proving(desired, model)
        if proving is not None and proving.phase is DeviceState.SHADOW:
            reason = proving.rehearsed(self._host.interrupted)
            self._step(desired, DeviceState.SHADOW, reason)
            if not proving.shadow(self._host.interrupted):
                raise InterruptedUpdateError
        if proving is not None:
            proving.about_to_decide()
        self._swap(model)
        try:
            if proving is not None:
                self._try_out(desired, proving)
            self._commit(desired)
        except BaseException:
            if not self._host.ending():
                self._swap_back()
            raise

    def _proving(self, desired: Desired, candidate: Model) -> Proving | None:
        """Return the trial that the directive asks for; None where there is nothing to try."""
        before, room = self._store.current(), self._host.room
        if desired.trial is None or before is None or room is None:
            return None
        champion = Model.load(before)
        if champion.sha256 == candidate.sha256:
            return None
        if WindowSpec.of_model(champion.spec, 0) != WindowSpec.of_model(candidate.spec, 0):
            log.warning("the model reads other windows than the champion: no trial beside it")
            return None
        pair = (before, champion), (self._store.path(candidate.sha256), candidate)
        return Proving(desired, *pair, self.diary, room, self._limits)

    def _try_out(self, desired: Desired, proving: Proving) -> None:
        if proving.phase is not DeviceState.TRIAL:
            return
        self._step(desired, DeviceState.TRIAL)
        try:
            done = proving.trial(self._host.interrupted)
        except TrialError as error:
            raise SwapError(f"in trial: {error}") from error
        if not done:
            raise InterruptedUpdateError

    def _swap(self, model: Model) -> None:
        try:
            self._host.swap(model)
        except Exception as error:
            if self._host.ending():
                # The pipeline ends too: that says nothing about the model.
                raise InterruptedUpdateError from error
            raise SwapError(f"the pipeline did not take the model: {error}") from error

    def _commit(self, desired: Desired) -> None:
        try:
            self._step(desired, DeviceState.COMMITTED)
        except StoreError as error:
            raise SwapError(f"the commit is not durable: {error}") from error

    def _swap_back(self) -> None:
        before = self._store.current()
        if before is not None:
            self._host.swap(Model.load(before))

    def _step(self, desired: Desired, state: DeviceState, reason: str = "") -> None:
        outcome = Outcome(desired.counter, state, desired.model.sha256, reason)
        if outcome != self.outcome:
            self._store.record(outcome)
            self.outcome = outcome
        self._host.told()

    def _end(self, desired: Desired, state: DeviceState, reason: str) -> None:
        log.warning("directive %d is %s: %s", desired.counter, state, reason)
        try:
            self._step(desired, state, reason)
        except StoreError as error:
            # Not durable, so it may be tried again after a restart; the centre hears it anyway.
            why = f"{reason}; {error}"
            self.outcome = Outcome(desired.counter, state, desired.model.sha256, why)
            self._host.told()
