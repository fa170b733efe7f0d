"""The updater against a simulated centre: real keys, model files, child processes, real disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.update.fetch import HERE
from foreshock_agent.update.store import have_file
from foreshock_converter.sample import tiny_model
from foreshock_wire.updates import DeviceState, Report
from tests.agent.centre import BLOCK, Centre, Rig, Signing, sha_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_wire.model import Model


@pytest.fixture(scope="module")
def model_a() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture(scope="module")
def model_b() -> bytes:
    return tiny_model(seed=2)


@pytest.fixture
def rig(tmp_path: Path, model_a: bytes, model_b: bytes) -> Iterator[Rig]:
    signing = Signing(tmp_path / "fleet")
    for data in (model_a, model_b):
        signing.release(data)
    one = Rig(tmp_path / "gateway", Centre(signing))
    yield one
    one.stop()


def test_a_desired_model_is_fetched_tested_swapped_and_committed(rig: Rig, model_a: bytes) -> None:
    rig.want(rig.centre.signing.directive(model_a))
    last = rig.centre.end_of(1)
    sha = sha_of(model_a)
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
    rig.want(rig.centre.signing.directive(model_a))
    rig.centre.end_of(1)
    assert sorted(rig.centre.asked) == list(range(-(-len(model_a) // BLOCK)))


def test_tampered_bytes_are_refused(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block[:-1] + b"\0" if index == 2 else block
    rig.want(rig.centre.signing.directive(model_a))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert "tampered" in last.reason
    assert rig.swapped == []


def test_truncated_blocks_are_refused(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block[:100] if index == 1 else block
    rig.want(rig.centre.signing.directive(model_a))
    assert "block 1" in rig.centre.end_of(1).reason


@pytest.mark.parametrize("wrong", [-1000, 1000, BLOCK])
def test_another_size_than_the_released_one_is_refused(
    rig: Rig, model_a: bytes, wrong: int
) -> None:
    rig.want(rig.centre.signing.directive(model_a, size=len(model_a) + wrong))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert f"signed with {len(model_a)} bytes" in last.reason
    assert (rig.swapped, rig.centre.asked) == ([], [])


def test_a_model_larger_than_the_gateway_takes_is_refused(rig: Rig, model_a: bytes) -> None:
    rig.restart(max_bytes=10_000)
    rig.want(rig.centre.signing.directive(model_a))
    assert "takes at most 10000" in rig.centre.end_of(1).reason
    assert rig.centre.asked == []


def test_a_model_for_other_channels_is_refused(rig: Rig, model_a: bytes) -> None:
    rig.restart(channels=["temperature", "pressure"])
    rig.want(rig.centre.signing.directive(model_a))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert "vibration, torque, motor_power" in last.reason


def test_bytes_that_are_no_model_are_refused(rig: Rig) -> None:
    junk = b"this is not an onnx file" * 1000
    rig.roll_out(junk)
    assert "not a model file" in rig.centre.end_of(1).reason


def test_a_pipeline_that_does_not_take_the_model_rolls_back(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    rig.want(rig.centre.signing.directive(model_a, 1))
    rig.centre.end_of(1)

    def refuse(_: Model) -> None:
        raise RuntimeError("no score within 5 s")

    rig.swap = refuse
    rig.want(rig.centre.signing.directive(model_b, 2))
    last = rig.centre.end_of(2)
    assert last.state is DeviceState.ROLLED_BACK
    assert "no score within 5 s" in last.reason
    assert last.model == sha_of(model_a)


def test_a_commit_that_the_disk_refuses_swaps_back(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    rig.want(rig.centre.signing.directive(model_a, 1))
    rig.centre.end_of(1)

    def swap_and_break_the_disk(model: Model) -> None:
        rig.swapped.append(model.sha256)
        (rig.folder / "state.json.temp").mkdir(exist_ok=True)

    rig.swap = swap_and_break_the_disk
    rig.want(rig.centre.signing.directive(model_b, 2))
    last = rig.centre.end_of(2)
    old, new = (sha_of(data) for data in (model_a, model_b))
    assert last.state is DeviceState.ROLLED_BACK
    assert rig.swapped == [old, new, old]
    assert last.model == old


def test_an_ended_directive_is_not_tried_again_even_after_a_restart(
    rig: Rig, model_a: bytes
) -> None:
    rig.restart(max_bytes=10_000)
    rig.want(rig.centre.signing.directive(model_a, 5))
    rig.centre.end_of(5)
    rig.restart()
    rig.centre.reports.clear()
    rig.want(rig.centre.signing.directive(model_a, 5))
    rig.want(rig.centre.signing.directive(model_a, 4))
    assert rig.centre.end_of(5).state is DeviceState.REJECTED
    rig.want(rig.centre.signing.directive(model_a, 6))
    assert rig.centre.end_of(6).state is DeviceState.COMMITTED
    assert [report.counter for report in rig.centre.reports].count(4) == 0


def test_a_restart_in_the_middle_goes_on_from_the_blocks_it_has(rig: Rig, model_a: bytes) -> None:
    rig.centre.tamper = lambda index, block: block if index < 3 else None
    rig.want(rig.centre.signing.directive(model_a))
    rig.centre.wait_for(lambda report: report.state is DeviceState.DOWNLOADING)
    have = have_file(rig.store.part(sha_of(model_a)))
    _until(lambda: have.exists() and have.read_bytes().count(HERE) == 3)
    rig.restart()
    rig.centre.asked.clear()
    rig.centre.tamper = lambda _, block: block
    rig.want(rig.centre.signing.directive(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert min(rig.centre.asked) == 3


def test_a_torn_part_is_fetched_once_more_from_the_beginning(rig: Rig, model_a: bytes) -> None:
    part = rig.store.part(sha_of(model_a))
    blocks = -(-len(model_a) // BLOCK)
    part.write_bytes(bytes(len(model_a)))
    marks = bytes([HERE, HERE]) + bytes(blocks - 2)
    have_file(part).write_bytes(b"%d %d\n" % (len(model_a), BLOCK) + marks)
    rig.want(rig.centre.signing.directive(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED


def test_blocks_that_get_lost_are_asked_for_again(rig: Rig, model_a: bytes) -> None:
    lost: set[int] = set()

    def lose_once(index: int, block: bytes) -> bytes | None:
        if index in lost:
            return block
        lost.add(index)
        return None

    rig.centre.tamper = lose_once
    rig.want(rig.centre.signing.directive(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED


def test_a_newer_directive_supersedes_a_download(rig: Rig, model_a: bytes, model_b: bytes) -> None:
    rig.centre.tamper = lambda _, __: None
    rig.want(rig.centre.signing.directive(model_a, 1))
    rig.centre.wait_for(lambda report: report.state is DeviceState.DOWNLOADING)
    rig.centre.tamper = lambda _, block: block
    rig.want(rig.centre.signing.directive(model_b, 2))
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert rig.swapped == [sha_of(model_b)]


def test_a_model_that_is_here_already_is_not_fetched_again(
    rig: Rig, model_a: bytes, model_b: bytes
) -> None:
    for counter, data in enumerate((model_a, model_b, model_a), start=1):
        rig.centre.asked.clear()
        rig.want(rig.centre.signing.directive(data, counter))
        assert rig.centre.end_of(counter).state is DeviceState.COMMITTED
    assert rig.centre.asked == []


def test_nonsense_instead_of_a_directive_is_told_and_disturbs_nothing(
    rig: Rig, model_a: bytes
) -> None:
    rig.want(b"\xff{")
    rig.want(b'{"v": 1, "gateway": "gw-1", "counter": 1}')
    rig.centre.problem("the directive is not signed")
    rig.want(rig.centre.signing.directive(model_a, 1))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert rig.centre.reports[-1].problem == ""
    assert rig.updater is not None
    assert rig.updater.refused_messages == 2


def test_a_network_that_throws_does_not_end_the_updater(rig: Rig, model_a: bytes) -> None:
    real, failures = rig.centre.publish, iter(range(6))

    def flaky(topic: str, payload: bytes) -> None:
        if next(failures, None) is not None:
            raise OSError("no route to host")
        real(topic, payload)

    rig.centre.publish = flaky  # type: ignore[method-assign]
    rig.want(rig.centre.signing.directive(model_a))
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
