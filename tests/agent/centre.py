"""A centre in the same process: real keys, real signed metadata, real blocks, no network.

`tamper` may change or withhold any answer on its way to the gateway: it is what an attacker who
owns the broker can do.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from foreshock_agent.judging.scoring import model_policy
from foreshock_agent.settings import AlarmSettings
from foreshock_agent.update.fetch import Pacing
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trial import Limits
from foreshock_agent.update.trust import Trust
from foreshock_agent.update.updater import Updater
from foreshock_converter.sample import CHANNELS as SAMPLE_CHANNELS
from foreshock_fleet.blocks import BlockService
from foreshock_fleet.directives import DirectiveSigner
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.repository import Repository
from foreshock_fleet.signed import SignedRepository
from foreshock_wire import topics
from foreshock_wire.trials import LiveHealth
from foreshock_wire.updates import (
    BlockRequest,
    Desired,
    DeviceState,
    FileRequest,
    ModelRef,
    Report,
    TrialTerms,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foreshock_agent.update.proving import Watch
    from foreshock_wire.model import Model
    from foreshock_wire.updates import Envelope

AT = topics.Gateway("north", "gw-1")
CHANNELS = tuple(channel.id for channel in SAMPLE_CHANNELS)
BLOCK = 8192
ENDS = {DeviceState.COMMITTED, DeviceState.REJECTED, DeviceState.ROLLED_BACK}
LIMITS = Limits(wall_s=45)
TODAY = datetime(2026, 11, 20, 12, tzinfo=UTC)

Answer = tuple[str, bytes]


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def sha_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ref_of(data: bytes, size: int | None = None) -> ModelRef:
    size = len(data) if size is None else size
    return ModelRef(sha256=sha_of(data), size=size, block_bytes=BLOCK, name="pump", version="1")


class Signing:
    """A repository with its keys in a folder, and the signer of directives."""

    def __init__(self, folder: Path, now: datetime = TODAY) -> None:
        self.folder, self.now = folder, now
        self.repository = Repository(folder / "repository")
        self.root_keys = KeyFolder(folder / "root-keys")
        self.keys = KeyFolder(folder / "keys")
        self.signed = SignedRepository(self.repository)
        self.signed.create(self.root_keys, self.keys, count=3, threshold=2, now=now)
        self.root = folder / "root.json"
        self.root.write_bytes(self.signed.root_bytes())

    def release(self, data: bytes, size: int | None = None) -> str:
        sha256 = self.repository.add(data)
        self.signed.add_target(sha256, size or len(data), {}, self.keys, self.now)
        return sha256

    def directive(
        self,
        data: bytes,
        counter: int = 1,
        *,
        at: topics.Gateway = AT,
        size: int | None = None,
        valid: timedelta = timedelta(days=7),
        trial: TrialTerms | None = None,
    ) -> Envelope:
        ref = ref_of(data, size)
        desired = Desired(gateway=at.gateway, counter=counter, model=ref, trial=trial)
        signer = DirectiveSigner(self.signed, self.keys)
        return signer.sign(at, desired, ns(self.now), int(valid.total_seconds()) * 10**9)


class Centre:
    """Answers requests and keeps the reports; `tamper` sees each answer before the gateway."""

    def __init__(self, signing: Signing) -> None:
        self.signing = signing
        self.reports: list[Report] = []
        self.healths: list[LiveHealth] = []
        self.asked: list[int] = []
        self.files: list[str] = []
        self.tamper: Callable[[int, bytes], bytes | None] = lambda _, block: block
        self.tamper_file: Callable[[str, int, bytes], bytes | None] = lambda _, __, block: block
        self.updater: Updater | None = None
        self.repository = signing.repository
        self._changed = threading.Condition()

    def publish(self, topic: str, payload: bytes) -> None:
        at, what = topics.parse_up(topic)
        if what is topics.Up.REPORT:
            with self._changed:
                self.reports.append(Report.from_bytes(payload))
                self._changed.notify_all()
        elif what is topics.Up.HEALTH:
            self.healths.append(LiveHealth.from_bytes(payload))
        elif what is topics.Up.BLOCK:
            self._block(at, BlockRequest.from_bytes(payload))
        else:
            self._file(at, FileRequest.from_bytes(payload))

    def _block(self, at: topics.Gateway, request: BlockRequest) -> None:
        self.asked.append(request.index)
        answer = BlockService(self.repository, lambda _: BLOCK).answer(at, request)
        assert answer is not None
        block = self.tamper(request.index, answer[1])
        if block is not None and self.updater is not None:
            self.updater.on_block(answer[0], block)

    def _file(self, at: topics.Gateway, request: FileRequest) -> None:
        self.files.append(request.name)
        answer = BlockService(self.repository, lambda _: BLOCK).answer_file(at, request)
        assert answer is not None
        block = self.tamper_file(request.name, request.index, answer[1])
        if block is not None and self.updater is not None:
            self.updater.on_file(answer[0], block)

    def wait_for(self, wanted: Callable[[Report], bool]) -> Report:
        def seen() -> Report | None:
            return next((report for report in self.reports if wanted(report)), None)

        with self._changed:
            found = self._changed.wait_for(seen, timeout=60)
        assert found is not None, f"no such report among {self.reports}"
        return found

    def end_of(self, counter: int) -> Report:
        return self.wait_for(lambda report: report.counter == counter and report.state in ENDS)

    def state_of(self, counter: int, state: DeviceState) -> Report:
        return self.wait_for(lambda report: report.counter == counter and report.state is state)

    def problem(self, text: str) -> Report:
        return self.wait_for(lambda report: text in report.problem)


class Rig:
    """One gateway's updater and its centre; `restart` is a new process on the same disk."""

    def __init__(self, folder: Path, centre: Centre) -> None:
        self.folder, self.centre = folder / "models", centre
        self.trust = Trust(folder / "metadata", centre.signing.root)
        self.swapped: list[str] = []
        self.now = centre.signing.now
        self.swap: Callable[[Model], None] = lambda model: self.swapped.append(model.sha256)
        self.watch: Watch | None = None
        self.updater: Updater | None = None
        self.restart()

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.folder)

    def restart(
        self,
        channels: Sequence[str] = CHANNELS,
        max_bytes: int = 1 << 20,
        limits: Limits = LIMITS,
    ) -> Updater:
        self.stop()
        self.updater = self.centre.updater = Updater(
            AT,
            self.store,
            self.trust,
            channels=channels,
            publish=self._publish,
            swap=self._swap,
            now_ns=lambda: ns(self.now),
            version="9.9",
            accounts=lambda: {"stored": 3},
            pacing=Pacing(window=4, first_s=0.05, longest_s=0.2),
            limits=limits,
            watch=self._set_watch,
            policy=lambda model: model_policy(AlarmSettings(), model),
            max_model_bytes=max_bytes,
        )
        self.updater.start()
        return self.updater

    def _set_watch(self, watch: Watch | None) -> None:
        self.watch = watch

    def _publish(self, topic: str, payload: bytes) -> None:
        self.centre.publish(topic, payload)

    def _swap(self, model: Model) -> None:
        self.swap(model)

    def want(self, directive: Envelope | bytes) -> None:
        assert self.updater is not None
        payload = directive if isinstance(directive, bytes) else directive.to_bytes()
        self.updater.on_desired(payload)

    def roll_out(self, data: bytes, counter: int = 1) -> None:
        """Release a model and want it here."""
        self.centre.signing.release(data)
        self.want(self.centre.signing.directive(data, counter))

    def stop(self) -> None:
        if self.updater is not None:
            self.updater.stop()
