"""The emergency stop, withdrawal, and gateways that vanish or share an identity."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from foreshock_fleet.errors import HaltedError
from foreshock_fleet.plan import Plan
from foreshock_fleet.rollout import Command
from foreshock_fleet.state import FleetState, Release, open_state
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState, Report
from tests.fleet.conftest import EdgeProcess, Fleet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHA_A, SHA_B, SHA_C = "a" * 64, "b" * 64, "c" * 64
ONE, TWO = Gateway("north", "gw-1"), Gateway("north", "gw-2")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[FleetState]:
    with contextlib.closing(open_state(tmp_path)) as opened:
        for number, sha in enumerate((SHA_A, SHA_B, SHA_C)):
            opened.add_release(Release(sha, 10, 1024, "pump", "1", "a.onnx", number), "ann")
        for at in (ONE, TWO):
            opened.note_report(at, Report(gateway=at.gateway, model=SHA_A), 1)
        yield opened


def committed(state: FleetState, at: Gateway, counter: int, sha256: str) -> None:
    told = Report(gateway=at.gateway, counter=counter, state=DeviceState.COMMITTED, model=sha256)
    state.note_report(at, told, 5)


def test_while_the_fleet_is_stopped_no_rollout_moves_and_none_begins(
    state: FleetState, tmp_path: Path
) -> None:
    begun = state.start_rollout(SHA_B, "ann", 2, Plan(waves=(1e-9, 1.0)))
    (canary,) = [one for one in begun.standings if one.counter]
    first = state.halt("bob", 3, "smoke")
    assert state.halt("eve", 4, "again") == first
    with contextlib.closing(open_state(tmp_path)) as again:
        committed(again, canary.at, 1, SHA_B)
        assert again.advance(6) == 0
        now = again.need_rollout()
        assert (now.progress.wave, len(now.verdict.committed)) == (1, 1)
        for change in (Command.ABORT, Command.RESUME):
            with pytest.raises(HaltedError, match="smoke"):
                again.command(begun.number, change, "ann", 7)
        with pytest.raises(HaltedError):
            again.start_rollout(SHA_C, "ann", 7)
    over = state.halt("bob", 8, halted=False)
    assert over.number > first.number
    assert state.advance(9) > 0
    assert state.need_rollout().progress.wave == 2
    trail = [entry.action for entry in state.audit() if "stop" in entry.action]
    assert trail == ["emergency stop", "emergency stop ended"]


def test_after_a_rollout_that_was_displaced_the_way_back_leads_to_what_was_proven(
    state: FleetState,
) -> None:
    state.start_rollout(SHA_B, "ann", 2, Plan(min_executed=1))
    committed(state, ONE, 1, SHA_B)
    third = state.start_rollout(SHA_C, "ann", 3)
    assert {one.before for one in third.standings} == {SHA_A}
    assert {one.last_good for one in state.devices()} == {SHA_A}
    for at, counter in ((ONE, 2), (TWO, 2)):
        committed(state, at, counter, SHA_C)
    assert state.need_rollout().state == "complete"
    assert {one.last_good for one in state.devices()} == {SHA_C}


def test_two_processes_of_one_identity_are_noticed_and_a_restart_is_none(
    state: FleetState,
) -> None:
    def heard(session: str, now_ns: int) -> None:
        state.note_report(ONE, Report(gateway=ONE.gateway, session=session), now_ns)

    for now_ns, session in enumerate(("s1", "s1", "s2", "s2", "s3")):
        heard(session, now_ns)
    assert [one.cloned_ns for one in state.devices()] == [None, None]
    heard("s2", 10)
    heard("s3", 11)
    assert [one.cloned_ns for one in state.devices()] == [11, None]
    assert [one.action for one in state.audit()].count("identity used twice") == 1


def test_who_vanishes_is_told_of_once_and_again_when_he_is_back(state: FleetState) -> None:
    state.note_report(TWO, Report(gateway=TWO.gateway), 50)
    assert state.mark_silent(40, 60) == 1
    assert state.mark_silent(40, 61) == 0
    assert [one.silent_ns for one in state.devices()] == [1, None]
    state.note_report(ONE, Report(gateway=ONE.gateway), 70)
    assert [one.silent_ns for one in state.devices()] == [None, None]
    trail = [(entry.actor, entry.action) for entry in state.audit()][-2:]
    assert trail == [("north/gw-1", "gateway vanished"), ("north/gw-1", "gateway is back")]


@pytest.mark.needs("mosquitto")
def test_a_stop_reaches_the_gateways_survives_a_restart_and_ends(
    fleet: Fleet, edges: Callable[[str], EdgeProcess], model_a: bytes
) -> None:
    fleet.serve()
    edges("gw-1")
    wait_until(lambda: "gw-1" in fleet.gateways(), "the gateway is known")
    sha = fleet.publish(model_a)
    assert fleet.on_state("emergency-stop", "--reason", "smoke")["halted"]
    stopped = "the fleet is stopped: smoke"
    wait_until(lambda: fleet.gateways()["gw-1"].problem == stopped, "the gateway has heard it")
    fleet.kill()
    fleet.serve()
    assert fleet.on_state("status")["halted"]
    assert "the fleet is stopped" in fleet.on_state("rollout", "create", expect=1)["error"]
    assert not fleet.on_state("emergency-stop", "--end")["halted"]
    said = fleet.on_state("rollout", "create", "--wait", "--timeout", "90")
    assert said["state"] == "complete"
    assert fleet.on_state("withdraw", sha[:12])["running"] == ["gw-1"]
    assert "was withdrawn" in fleet.on_state("rollout", "create", expect=1)["error"]
