"""A candidate beside the champion on live windows: real models, real child processes, real disk."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from foreshock_agent.judging.scoring import Due, Score
from foreshock_agent.update.proving import STARTS, Diary
from foreshock_agent.update.shadow import WAITING, Shadow
from foreshock_agent.update.trial import Limits
from foreshock_converter.sample import synthetic_windows, tiny_model
from foreshock_rules.windows import Window
from foreshock_wire.container import sealed
from foreshock_wire.model import Model
from foreshock_wire.updates import DeviceState, TrialTerms
from tests.agent.centre import CHANNELS, Centre, Rig, Signing, sha_of
from tests.agent.rig import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock_agent.update.shadow import Taken

TERMS: Final = TrialTerms(block_s=60, shadow_blocks=2, trial_blocks=2)
STEP_NS: Final = 10_000_000_000
STRANGE: Final = np.float32(12345.75)
"""A value that no golden window has."""


@pytest.fixture(scope="module")
def champion() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture(scope="module")
def candidate() -> bytes:
    return tiny_model(seed=2)


def silent_on_strange_values(data: bytes) -> bytes:
    """Return a model that repeats its golden windows and gives NaN for what is in none of them."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    for node in graph.node:
        for at, name in enumerate(node.output):
            if name == "margin":
                node.output[at] = "margin_before"
        for at, name in enumerate(node.input):
            if name == "margin":
                node.input[at] = "margin_before"
    numbers = {"zero": 0.0, "nan": float("nan"), "magic": float(STRANGE)}
    graph.initializer.extend(
        helper.make_tensor(f"strange_{name}", TensorProto.FLOAT, [], [value])
        for name, value in numbers.items()
    )
    graph.initializer.append(helper.make_tensor("strange_first", TensorProto.INT64, [], [0]))
    for op, inputs, output in [
        ("Gather", ["window", "strange_first"], "strange_row"),
        ("Gather", ["strange_row", "strange_first"], "strange_cell"),
        ("Equal", ["strange_cell", "strange_magic"], "strange_found"),
        ("Where", ["strange_found", "strange_nan", "strange_zero"], "strange_nothing"),
        ("Add", ["margin_before", "strange_nothing"], "margin"),
    ]:
        node = helper.make_node(op, inputs, [output])
        if op == "Gather":
            node.attribute.append(helper.make_attribute("axis", 1))
        graph.node.append(node)
    return sealed(model.SerializeToString())


class Line:
    """Stands where the pipeline is: scores windows without end by the model that was swapped in."""

    def __init__(self, rig: Rig, first: bytes) -> None:
        self.rig, self.model = rig, Model.load(first)
        self.windows, _, _ = synthetic_windows(64, len(CHANNELS), self.model.spec.length, seed=3)
        self.strange = False
        self.deciding: list[str] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        rig.swap = self._swap

    def _swap(self, model: Model) -> None:
        self.model = model
        self.rig.swapped.append(model.sha256)

    def _run(self) -> None:
        slot = 1_000_000
        while not self._ending.wait(0.005):
            slot += 1
            window = self.windows[slot % 64].copy()
            if self.strange:
                window[0, 0] = STRANGE
            outputs = self.model.run(window[np.newaxis])
            due = Due("pump-1", Window(slot * STEP_NS, window), 0)
            score = Score(due, self.model.sha256, float(outputs.margin[0]))
            if (watch := self.rig.watch) is not None:
                watch.scored([score], 50.0)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()


@pytest.fixture
def rig(tmp_path: Path, champion: bytes, candidate: bytes) -> Iterator[Rig]:
    signing = Signing(tmp_path / "fleet")
    for data in (champion, candidate):
        signing.release(data)
    one = Rig(tmp_path / "gateway", Centre(signing))
    one.want(signing.directive(champion, 1))
    one.centre.end_of(1)
    one.swapped.clear()
    yield one
    one.stop()


@pytest.fixture
def line(rig: Rig, champion: bytes) -> Iterator[Line]:
    one = Line(rig, champion)
    one.start()
    yield one
    one.stop()


def states(rig: Rig, counter: int) -> list[DeviceState | None]:
    told = [report.state for report in rig.centre.reports if report.counter == counter]
    return [state for at, state in enumerate(told) if at == 0 or told[at - 1] is not state]


@pytest.mark.usefixtures("line")
def test_a_good_candidate_goes_through_shadow_and_trial_and_is_committed(
    rig: Rig, champion: bytes, candidate: bytes
) -> None:
    rig.want(rig.centre.signing.directive(candidate, 2, trial=TERMS))
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert states(rig, 2)[2:] == [
        DeviceState.SELF_TEST,
        DeviceState.SHADOW,
        DeviceState.TRIAL,
        DeviceState.COMMITTED,
    ]
    healths = rig.centre.healths
    assert [(one.block, one.phase) for one in healths] == [
        (1, "shadow"),
        (2, "shadow"),
        (3, "trial"),
        (4, "trial"),
    ]
    assert rig.swapped == [sha_of(candidate)]
    assert rig.store.current_sha256 == sha_of(candidate)
    for one in healths:
        assert (one.champion_sha256, one.candidate_sha256) == (sha_of(champion), sha_of(candidate))
        assert one.champion.windows == one.candidate.windows >= 1
        assert one.candidate.errors == one.champion.errors == 0
        assert one.champion.latency_us
        assert one.candidate.latency_us


def test_both_models_see_the_same_windows(rig: Rig, line: Line, champion: bytes) -> None:
    """The champion under another name: what is scored in the child is what is scored here."""
    graph = onnx.load_model_from_string(champion)
    graph.doc_string = "the same, in another file"
    same = sealed(graph.SerializeToString())
    rig.centre.signing.release(same)
    rig.want(rig.centre.signing.directive(same, 2, trial=TERMS))
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert [one.differing for one in rig.centre.healths] == [0] * 4
    assert all(one.champion.alarms == one.candidate.alarms for one in rig.centre.healths)
    assert line.model.sha256 == sha_of(same)


def test_a_candidate_that_gives_no_scores_on_live_windows_never_decides(
    rig: Rig, line: Line, champion: bytes
) -> None:
    line.strange = True
    bad = silent_on_strange_values(champion)
    rig.centre.signing.release(bad)
    rig.want(rig.centre.signing.directive(bad, 2, trial=TERMS))
    last = rig.centre.end_of(2)
    assert last.state is DeviceState.REJECTED
    assert "gave no score for" in last.reason
    assert rig.swapped == []
    assert rig.store.current_sha256 == sha_of(champion)


def test_one_that_fails_while_it_decides_is_rolled_back(
    rig: Rig, line: Line, champion: bytes
) -> None:
    bad = silent_on_strange_values(champion)
    rig.centre.signing.release(bad)
    endless = TERMS.model_copy(update={"trial_blocks": 10_000})
    rig.want(rig.centre.signing.directive(bad, 2, trial=endless))
    rig.centre.state_of(2, DeviceState.TRIAL)
    line.strange = True
    last = rig.centre.end_of(2)
    assert last.state is DeviceState.ROLLED_BACK
    assert "in trial: it gave no score for" in last.reason
    assert rig.swapped == [sha_of(bad), sha_of(champion)]
    assert line.model.sha256 == rig.store.current_sha256 == sha_of(champion)


def test_a_newer_directive_ends_a_trial_and_the_champion_decides_again(
    rig: Rig, line: Line, champion: bytes, candidate: bytes
) -> None:
    endless = TERMS.model_copy(update={"trial_blocks": 10_000})
    rig.want(rig.centre.signing.directive(candidate, 2, trial=endless))
    rig.centre.state_of(2, DeviceState.TRIAL)
    rig.want(rig.centre.signing.directive(champion, 3, trial=endless))
    assert rig.centre.end_of(3).state is DeviceState.COMMITTED
    assert line.model.sha256 == rig.store.current_sha256 == sha_of(champion)
    assert rig.watch is None


@pytest.mark.usefixtures("line")
def test_a_restart_goes_on_with_the_next_block(rig: Rig, candidate: bytes) -> None:
    long = TERMS.model_copy(update={"trial_blocks": 20})
    directive = rig.centre.signing.directive(candidate, 2, trial=long)
    rig.want(directive)
    rig.centre.state_of(2, DeviceState.TRIAL)
    wait_for(lambda: len(rig.centre.healths) > 4, "blocks of the trial")
    rig.restart()
    rig.want(directive)
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert [one.block for one in rig.centre.healths] == list(range(1, 23))


@pytest.mark.usefixtures("line")
def test_a_new_connection_hears_all_blocks_again(rig: Rig, candidate: bytes) -> None:
    rig.want(rig.centre.signing.directive(candidate, 2, trial=TERMS))
    rig.centre.end_of(2)
    rig.restart().report()
    assert rig.centre.healths[4:] == rig.centre.healths[:4]


@pytest.mark.usefixtures("line")
def test_a_model_with_which_the_agent_dies_again_and_again_is_given_up(
    rig: Rig, champion: bytes, candidate: bytes
) -> None:
    diary = Diary(rig.folder / "trial.json")
    diary.begin(2)
    for _ in range(STARTS):
        diary.started()
    rig.restart()
    terms = TrialTerms(block_s=60, shadow_blocks=0, trial_blocks=2)
    rig.want(rig.centre.signing.directive(candidate, 2, trial=terms))
    last = rig.centre.end_of(2)
    assert last.state is DeviceState.ROLLED_BACK
    assert "3 times in a row" in last.reason
    assert rig.swapped == []
    assert rig.store.current_sha256 == sha_of(champion)


def test_an_orderly_stop_is_no_crash(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "trial.json")
    diary.begin(7)
    for _ in range(STARTS + 1):
        diary.started()
        diary.left()
    assert Diary(tmp_path / "trial.json").starts == 0


def test_a_diary_that_is_no_json_begins_again(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_bytes(b"\0\0")
    assert Diary(tmp_path / "trial.json").blocks == 0


def test_a_model_that_is_too_slow_or_too_large_is_refused_before_it_sees_a_window(
    rig: Rig, candidate: bytes
) -> None:
    rig.restart(limits=Limits(window_ms=1e-6))
    rig.want(rig.centre.signing.directive(candidate, 2, trial=TERMS))
    assert "ms for a window" in rig.centre.end_of(2).reason
    rig.restart(limits=Limits(rss_bytes=0))
    rig.want(rig.centre.signing.directive(candidate, 3, trial=TERMS))
    assert "MiB of memory" in rig.centre.end_of(3).reason
    assert rig.centre.healths == []


@contextmanager
def shadowed(folder: Path, data: bytes) -> Iterator[tuple[Shadow, Taken]]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    taken: Taken = []
    shadow = Shadow(path, 2 << 30, taken.extend)
    try:
        yield shadow, taken
    finally:
        shadow.close()


def a_score(model: Model) -> Score:
    window = np.zeros((model.spec.length, len(CHANNELS)), np.float32)
    return Score(Due("pump-1", Window(1, window), 0), model.sha256, 0.0)


def test_a_child_that_hangs_holds_nobody_up(tmp_path: Path, candidate: bytes) -> None:
    score = a_score(Model.load(candidate))
    with shadowed(tmp_path, candidate) as (shadow, taken):
        shadow.offer([score], 1.0)
        wait_for(lambda: taken, "an answer")
        os.kill(shadow.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        for _ in range(10 * WAITING):
            shadow.offer([score], 1.0)
        assert time.monotonic() - began_s < 10
        assert shadow.dropped >= 8 * WAITING
        os.kill(shadow.pid, signal.SIGCONT)
        wait_for(lambda: len(taken) > WAITING, "what waited")


def test_what_waited_for_a_child_that_is_ended_is_no_fault_of_its_model(
    tmp_path: Path, candidate: bytes
) -> None:
    """The end of a phase on a busy gateway: else a good model is said to have given no score."""
    score = a_score(Model.load(candidate))
    with shadowed(tmp_path, candidate) as (shadow, taken):
        for _ in range(WAITING):
            shadow.offer([score], 1.0)
    assert [one for *_, one in taken if math.isnan(one.margin)] == []
    assert shadow.dropped + len(taken) == WAITING


def test_a_child_that_dies_is_a_failure_with_a_name(tmp_path: Path, candidate: bytes) -> None:
    score = a_score(Model.load(candidate))
    with shadowed(tmp_path, candidate) as (shadow, taken):
        shadow.offer([score], 1.0)
        wait_for(lambda: taken, "an answer")
        os.kill(shadow.pid, signal.SIGKILL)
        wait_for(lambda: shadow.failure, "the failure")
    assert "SIGKILL" in shadow.failure
