"""The coordinator is killed at every transition: none is lost, none is done twice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from foreshock_fleet import sqlite_rollouts
from foreshock_fleet.health import HealthGate
from foreshock_fleet.plan import Plan
from foreshock_fleet.rollout import Command
from foreshock_fleet.state import FleetState, Release, Rollout, open_state
from foreshock_wire.trials import LiveHealth, ModelFigures
from foreshock_wire.updates import DeviceState
from tests.fleet.two_gateways import ONE, SHA_A, SHA_B, TWO, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from foreshock_wire.topics import Gateway


SCRIPT: list[Callable[[FleetState], object]] = [
    lambda s: s.start_rollout(SHA_B, "ann", 1, Plan(waves=(1e-9, 1.0), soak_s=1, approval=True)),
    lambda s: s.command(1, Command.APPROVE, "ann", 2),
    lambda s: report_first_wave(s, DeviceState.COMMITTED, 3),
    lambda s: s.advance(5 * 10**9),
    lambda s: report_second_wave(s, DeviceState.DOWNLOADING, 6 * 10**9),
    lambda s: s.command(1, Command.PAUSE, "ann", 7 * 10**9),
    lambda s: s.command(1, Command.ABORT, "ann", 8 * 10**9),
    lambda s: report_back(s, 9 * 10**9),
]


WORSE: list[Callable[[FleetState], object]] = [
    lambda s: s.start_rollout(SHA_B, "ann", 1, Plan(waves=(1e-9, 1.0), health=HealthGate())),
    lambda s: tell_blocks(s, errors=0, numbers=range(1, 3)),
    lambda s: s.halt("bob", 3, "smoke"),
    lambda s: s.halt("bob", 4, halted=False),
    lambda s: tell_blocks(s, errors=5, numbers=range(3, 25)),
    lambda s: s.advance(6),
    lambda s: report_back(s, 7, (canary_of(s),)),
]
"""A canary that is worse on live data, and an emergency stop on the way."""


def canary_of(state: FleetState) -> Gateway:
    return next(one.at for one in state.need_rollout(1).standings if one.wave == 1)


def tell_blocks(state: FleetState, errors: int, numbers: range) -> None:
    at = canary_of(state)
    told = [
        LiveHealth(
            gateway=at.gateway,
            counter=1,
            block=number,
            begin_ns=number,
            end_ns=number + 1,
            phase="shadow",
            champion_sha256=SHA_A,
            candidate_sha256=SHA_B,
            champion=ModelFigures(windows=60),
            candidate=ModelFigures(windows=60, errors=errors),
        )
        for number in numbers
    ]
    assert not state.hear([(at, one) for one in told], 5)


def report_first_wave(state: FleetState, what: DeviceState, now_ns: int) -> None:
    at = next(one.at for one in state.need_rollout(1).standings if one.wave == 1)
    state.note_report(at, told(at, 1, what, model=SHA_B), now_ns)


def report_back(state: FleetState, now_ns: int, ats: Sequence[Gateway] = (ONE, TWO)) -> None:
    for at in ats:
        state.note_report(at, told(at, 2, DeviceState.COMMITTED, model=SHA_A), now_ns)


def report_second_wave(state: FleetState, what: DeviceState, now_ns: int) -> None:
    at = next(one.at for one in state.need_rollout(1).standings if one.wave == 2)
    state.note_report(at, told(at, 1, what), now_ns)


class Killed(BaseException):
    pass


def play(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: list[Callable[[FleetState], object]],
    at: int,
    *,
    after: bool,
) -> list[object]:
    """Play the script; the process is killed at transition `at` and then begins that line again."""
    calls, real = 0, sqlite_rollouts.transit

    def transit(*arguments: Any) -> Any:  # noqa: ANN401 - as the real one
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Killed
        done = real(*arguments)
        if calls == at:
            raise Killed
        return done

    monkeypatch.setattr(sqlite_rollouts, "transit", transit)
    prepare(folder)
    for line in script:
        run_until_it_lives(folder, line)
    monkeypatch.undo()
    with contextlib.closing(open_state(folder)) as state:
        return [state.rollout(), state.audit(), state.directives(), calls]


def prepare(folder: Path) -> None:
    with contextlib.closing(open_state(folder)) as state:
        for number, sha in enumerate((SHA_A, SHA_B)):
            state.add_release(Release(sha, 10, 1024, "pump", "1", "a.onnx", number), "ann")
        for gateway in (ONE, TWO):
            state.note_report(gateway, told(gateway, model=SHA_A), 0)


def run_until_it_lives(folder: Path, line: Callable[[FleetState], object]) -> None:
    for _ in range(2):
        with contextlib.closing(open_state(folder)) as state:
            try:
                line(state)
            except Killed:
                continue
            return


@pytest.mark.parametrize(
    ("script", "least"), [(SCRIPT, 8), (WORSE, 3)], ids=["steered", "worse on live data"]
)
def test_killed_at_every_transition_none_is_lost_and_none_is_done_twice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: list[Callable[[FleetState], object]],
    least: int,
) -> None:
    *whole, transitions = play(tmp_path / "whole", monkeypatch, script, 0, after=False)
    assert isinstance(whole[0], Rollout)
    assert whole[0].state == "rolled_back"
    assert isinstance(transitions, int)
    assert transitions >= least
    for at in range(1, transitions + 1):
        for after in (False, True):
            *again, _ = play(tmp_path / f"{at}-{after}", monkeypatch, script, at, after=after)
            assert again == whole, f"killed at transition {at}"
