"""The updater against a simulated centre: real model files, real child processes, real disk."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.update.fetch import Pacing
from foreshock_agent.update.store import ModelStore
from foreshock_agent.update.trial import Limits
from foreshock_agent.update.updater import Updater
from foreshock_converter.sample import CHANNELS as SAMPLE_CHANNELS
from foreshock_converter.sample import tiny_model
from foreshock_wire import topics
from foreshock_wire.messages import BlockRequest, Desired, DeviceState, ModelRef, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from foreshock_wire.model import Model

AT = topics.Gateway("north", "gw-1")
CHANNELS = tuple(channel.id for channel in SAMPLE_CHANNELS)
BLOCK = 8192
ENDS = {DeviceState.COMMITTED, DeviceState.REJECTED, DeviceState.ROLLED_BACK}


@pytest.fixture(scope="module")
def model_a() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture(scope="module")
def model_b() -> bytes:
    return tiny_model(seed=2)


def desired(
    data: bytes, counter: int = 1, *, gateway: str = AT.gateway, size: int | None = None
) -> bytes:
    sha = hashlib.sha256(data).hexdigest()
    ref = ModelRef(sha256=sha, size=size or len(data), block_bytes=BLOCK, name="pump", version="1")
    return Desired(gateway=gateway, counter=counter, model=ref).to_bytes()


class Centre:
    """Answers block requests and keeps the reports; `tamper(index, block)` may change a block."""

    def __init__(self, *files: bytes) -> None:
        self.files = {hashlib.sha256(data).hexdigest(): data for data in files}
        self.reports: list[Report] = []
        self.asked: list[int] = []
        self.tamper: Callable[[int, bytes], bytes | None] = lambda _, block: block
        self.updater: Updater | None = None
        self._changed = threading.Condition()

    def publish(self, topic: str, payload: bytes) -> None:
        at, what = topics.parse_up(topic)
        if what is topics.Up.REPORT:
            with self._changed:
                self.reports.append(Report.from_bytes(payload))
                self._changed.notify_all()
            return
        request = BlockRequest.from_bytes(payload)
        self.asked.append(request.index)
        data = self.files.get(request.sha256, b"")
        block = self.tamper(request.index, data[request.index * BLOCK :][:BLOCK])
        if block is not None and self.updater is not None:
            self.updater.on_block(topics.block(at, request.sha256, request.index), block)

    def wait_for(self, wanted: Callable[[Report], bool]) -> Report:
        def seen() -> Report | None:
            return next((report for report in self.reports if wanted(report)), None)

        with self._changed:
            found = self._changed.wait_for(seen, timeout=60)
        assert found is not None, f"no such report among {self.reports}"
        return found

    def end_of(self, counter: int) -> Report:
        return self.wait_for(lambda report: report.counter == counter and report.state in ENDS)


class Rig:
    """One gateway's updater and its centre; `restart` is a new process on the same disk."""

    def __init__(self, folder: Path, centre: Centre) -> None:
        self.folder, self.centre = folder, centre
        self.swapped: list[str] = []
        self.trusted = True
        self.swap: Callable[[Model], None] = lambda model: self.swapped.append(model.sha256)
        self.updater: Updater | None = None
        self.restart()

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.folder)

    def restart(self, channels: Sequence[str] = CHANNELS, max_bytes: int = 1 << 20) -> Updater:
        self.stop()
        self.updater = self.centre.updater = Updater(
            AT,
            self.store,
            channels=channels,
            publish=self._publish,
            swap=self._swap,
            trusted=lambda: self.trusted,
            version="9.9",
            accounts=lambda: {"stored": 3},
            pacing=Pacing(window=4, first_s=0.05, longest_s=0.2),
            limits=Limits(wall_s=45),
            max_model_bytes=max_bytes,
        )
        self.updater.start()
        return self.updater

    def _publish(self, topic: str, payload: bytes) -> None:
        self.centre.publish(topic, payload)

    def _swap(self, model: Model) -> None:
        self.swap(model)

    def want(self, payload: bytes) -> None:
        assert self.updater is not None
        self.updater.on_desired(payload)

    def stop(self) -> None:
        if self.updater is not None:
            self.updater.stop()


@pytest.fixture
def rig(tmp_path: Path, model_a: bytes, model_b: bytes) -> Iterator[Rig]:
    one = Rig(tmp_path / "models", Centre(model_a, model_b))
    yield one
    one.stop()


def test_a_desired_model_is_fetched_tested_swapped_and_committed(rig: Rig, model_a: bytes) -> None:
    rig.want(desired(model_a))
    last = rig.centre.end_of(1)
    sha = hashlib.sha256(model_a).hexdigest()
    assert (last.state, last.model, last.reason) == (DeviceState.COMMITTED, sha, "")
    assert (last.version, last.accounts) == ("9.9", {"stored": 3})
    states = [report.state for report in rig.centre.reports]
    assert states == [
        DeviceState.DOWNLOADING,
        DeviceState.VERIFIED,
        DeviceState.SELF_TEST,
        DeviceState.COMMITTED,
    ]
    current = rig.store.current()
    assert current is not None
    assert current.read_bytes() == model_a
    assert rig.swapped == [sha]


def test_each_block_is_fetched_once(rig: Rig, model_a: bytes) -> None:
    rig.want(desired(model_a))
    rig.centre.end_of(1)
    assert sorted(rig.centre.asked) == list(range(-(-len(model_a) // BLOCK)))


def test_an_untrusted_broker_is_refused_before_anything_is_fetched(
    rig: Rig, model_a: bytes
) -> None:
    rig.trusted = False
    rig.want(desired(model_a))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert last.reason.startswith("updates are not signed yet: accepted from a loopback broker")
    assert rig.centre.asked == []


def test_tampered_bytes_are_refused(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block[:-1] + b"\0" if index == 2 else block
    rig.want(desired(model_a))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert "tampered" in last.reason
    assert rig.swapped == []


def test_truncated_blocks_are_refused(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block[:100] if index == 1 else block
    rig.want(desired(model_a))
    assert "block 1" in rig.centre.end_of(1).reason


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(-1000, "promised were"), (1000, "promised were"), (BLOCK, "does not have block 9")],
)
def test_a_wrong_size_is_refused(rig: Rig, model_a: bytes, wrong: int, reason: str) -> None:
    rig.want(desired(model_a, size=len(model_a) + wrong))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert reason in last.reason
    assert rig.swapped == []


def test_a_model_larger_than_the_gateway_takes_is_refused(rig: Rig, model_a: bytes) -> None:
    rig.restart(max_bytes=10_000)
    rig.want(desired(model_a))
    assert "takes at most 10000" in rig.centre.end_of(1).reason
    assert rig.centre.asked == []


def test_a_model_for_other_channels_is_refused(rig: Rig, model_a: bytes) -> None:
    rig.restart(channels=["temperature", "pressure"])
    rig.want(desired(model_a))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert "vibration, torque, motor_power" in last.reason


def test_bytes_that_are_no_model_are_refused(rig: Rig) -> None:
    junk = b"this is not an onnx file" * 1000
    rig.centre.files[hashlib.sha256(junk).hexdigest()] = junk
    rig.want(desired(junk))
    assert "not a model file" in rig.centre.end_of(1).reason


def test_a_pipeline_that_does_not_take_the_model_rolls_back(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    rig.want(desired(model_a, 1))
    rig.centre.end_of(1)

    def refuse(_: Model) -> None:
        raise RuntimeError("no score within 5 s")

    rig.swap = refuse
    rig.want(desired(model_b, 2))
    last = rig.centre.end_of(2)
    assert last.state is DeviceState.ROLLED_BACK
    assert "no score within 5 s" in last.reason
    assert last.model == hashlib.sha256(model_a).hexdigest()


def test_a_commit_that_the_disk_refuses_swaps_back(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    rig.want(desired(model_a, 1))
    rig.centre.end_of(1)

    def swap_and_break_the_disk(model: Model) -> None:
        rig.swapped.append(model.sha256)
        (rig.folder / "state.json.temp").mkdir(exist_ok=True)

    rig.swap = swap_and_break_the_disk
    rig.want(desired(model_b, 2))
    last = rig.centre.end_of(2)
    old, new = (hashlib.sha256(data).hexdigest() for data in (model_a, model_b))
    assert last.state is DeviceState.ROLLED_BACK
    assert rig.swapped == [old, new, old]
    assert last.model == old


def test_an_ended_directive_is_not_tried_again_even_after_a_restart(
    rig: Rig, model_a: bytes
) -> None:
    rig.trusted = False
    rig.want(desired(model_a, 5))
    rig.centre.end_of(5)
    rig.trusted = True
    rig.restart()
    rig.centre.reports.clear()
    rig.want(desired(model_a, 5))
    rig.want(desired(model_a, 4))
    assert rig.centre.end_of(5).state is DeviceState.REJECTED
    rig.want(desired(model_a, 6))
    assert rig.centre.end_of(6).state is DeviceState.COMMITTED
    assert [report.counter for report in rig.centre.reports].count(4) == 0


def test_a_restart_in_the_middle_goes_on_from_the_blocks_it_has(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block if index < 3 else None
    rig.want(desired(model_a))
    rig.centre.wait_for(lambda report: report.state is DeviceState.DOWNLOADING)
    part = rig.store.part(hashlib.sha256(model_a).hexdigest())
    _until(lambda: part.exists() and part.stat().st_size == 3 * BLOCK)
    rig.restart()
    rig.centre.asked.clear()
    rig.centre.tamper = lambda _, block: block
    rig.want(desired(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert min(rig.centre.asked) == 3


def test_a_torn_part_is_fetched_once_more_from_the_beginning(rig: Rig, model_a: bytes) -> None:
    sha = hashlib.sha256(model_a).hexdigest()
    rig.store.part(sha).write_bytes(bytes(2 * BLOCK))
    rig.want(desired(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED


def test_blocks_that_get_lost_are_asked_for_again(rig: Rig, model_a: bytes) -> None:
    lost: set[int] = set()

    def lose_once(index: int, block: bytes) -> bytes | None:
        if index in lost:
            return block
        lost.add(index)
        return None

    rig.centre.tamper = lose_once
    rig.want(desired(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED


def test_a_newer_directive_supersedes_a_download(rig: Rig, model_a: bytes, model_b: bytes) -> None:
    rig.centre.tamper = lambda _, __: None
    rig.want(desired(model_a, 1))
    rig.centre.wait_for(lambda report: report.state is DeviceState.DOWNLOADING)
    rig.centre.tamper = lambda _, block: block
    rig.want(desired(model_b, 2))
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert rig.swapped == [hashlib.sha256(model_b).hexdigest()]


def test_a_model_that_is_here_already_is_not_fetched_again(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    for counter, data in enumerate((model_a, model_b, model_a), start=1):
        rig.centre.asked.clear()
        rig.want(desired(data, counter))
        assert rig.centre.end_of(counter).state is DeviceState.COMMITTED
    assert rig.centre.asked == []


def test_a_directive_for_another_gateway_or_of_nonsense_is_ignored(
    rig: Rig, model_a: bytes
) -> None:
    rig.want(desired(model_a, 9, gateway="gw-2"))
    rig.want(b"\xff{")
    rig.want(b'{"v": 1, "gateway": "gw-1", "counter": 0}')
    rig.want(desired(model_a, 1))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert rig.updater is not None
    assert rig.updater.refused_messages == 3


def test_a_network_that_throws_does_not_end_the_updater(rig: Rig, model_a: bytes) -> None:
    real, failures = rig.centre.publish, iter(range(6))

    def flaky(topic: str, payload: bytes) -> None:
        if next(failures, None) is not None:
            raise OSError("no route to host")
        real(topic, payload)

    rig.centre.publish = flaky  # type: ignore[method-assign]
    rig.want(desired(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED


def test_a_report_before_any_directive_tells_the_model(rig: Rig) -> None:
    assert rig.updater is not None
    rig.updater.report()
    assert rig.centre.reports == [
        Report(gateway="gw-1", version="9.9", accounts={"stored": 3}, model=None)
    ]


def test_a_report_is_repeated_for_a_centre_that_listens_late(rig: Rig) -> None:
    assert rig.updater is not None
    rig.updater.report()
    _until(lambda: len(rig.centre.reports) >= 2)
    assert rig.centre.reports[0] == rig.centre.reports[1]


def _until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
