"""The commands that steer a rollout, on real coordinators and gateways, and on a state alone."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from foreshock.cli import cli
from foreshock_converter.sample import tiny_model
from foreshock_fleet.state import Release, open_state
from foreshock_wire.spec import Channel
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState, Report
from tests.fleet.conftest import EdgeProcess, Fleet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHA_A, SHA_B = "a" * 64, "b" * 64


def run(folder: Path, *arguments: str, expect: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["fleet", *arguments, "--state", str(folder), "--json"])
    assert done.exit_code == expect, done.output
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return said | {"error": done.stderr}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with contextlib.closing(open_state(tmp_path)) as state:
        for number, sha in enumerate((SHA_A, SHA_B)):
            state.add_release(Release(sha, 10, 1024, "pump", "", "x", number), "ann")
        for number in range(10):
            report(tmp_path, number, 0, None, SHA_A)
    return tmp_path


def report(folder: Path, number: int, counter: int, state: DeviceState | None, model: str) -> None:
    with contextlib.closing(open_state(folder)) as opened:
        name = f"gw-{number}"
        told = Report(gateway=name, counter=counter, state=state, model=model)
        opened.note_report(Gateway(f"site-{number % 2}", name), told, 1)


def test_a_dry_run_shows_who_would_get_it_when_and_does_nothing(folder: Path) -> None:
    run(folder, "label", "site-0/gw-4", "class=pump")
    run(folder, "label", "site-1/gw-5", "class=pump")
    said = run(
        folder, "rollout", "create", "--dry-run", "--waves", "1,100%", "--select", "class=pump"
    )
    assert sorted(said["waves"]) == ["site-0/gw-4", "site-1/gw-5"]
    assert sorted(said["waves"].values()) == [1, 2]
    assert run(folder, "rollout", "history")["rollouts"] == []
    assert run(folder, "groups")["groups"] == {"site=site-0": 5, "site=site-1": 5, "class=pump": 2}
    assert len(run(folder, "devices", "--select", "site=site-1")["gateways"]) == 5


def test_a_dry_run_says_when_and_what_the_gate_on_live_health_could_see(folder: Path) -> None:
    options = ("--waves", "4,100%", "--soak-s", "7200", "--health")
    said = run(folder, "rollout", "create", SHA_B, "--dry-run", *options)
    begins = [datetime.fromisoformat(said["not_before"][wave]) for wave in ("1", "2")]
    assert begins[1] - begins[0] == timedelta(hours=24 + 2)
    assert {wave: seen["blocks"] for wave, seen in said["health"].items()} == {"1": 96, "2": 240}
    assert said["health"]["1"]["effect"] > said["health"]["2"]["effect"] > 0.05
    assert set(said["before"].values()) == {SHA_A}
    few = run(folder, "rollout", "create", "--dry-run", "--health", "--trial-blocks", "0", *options)
    assert few["health"]["1"]["blocks"] == 24
    told = run(folder, "rollout", "create", "--dry-run", "--alpha", "0.1", expect=1)
    assert "give --health too" in told["error"]


def test_a_rollout_is_approved_paused_resumed_and_aborted(folder: Path) -> None:
    options = ("--waves", "10%,100%", "--approval", "--min-success", "1")
    assert run(folder, "rollout", "create", SHA_B, *options)["state"] == "awaiting_approval"
    for command, state in (("approve", "active"), ("pause", "paused"), ("resume", "active")):
        assert run(folder, "rollout", command)["state"] == state
    begun = run(folder, "rollout", "status")
    assert (len(begun["silent"]), len(begun["waiting"])) == (1, 9)
    assert "cannot be told to approve" in run(folder, "rollout", "approve", expect=1)["error"]
    aborted = run(folder, "rollout", "abort", "--reason", "wrong season")
    assert (aborted["state"], aborted["reason"]) == ("rolling_back", "wrong season")
    (canary,) = begun["silent"]
    report(folder, int(canary[3:]), 2, DeviceState.COMMITTED, SHA_A)
    assert run(folder, "rollout", "watch", expect=3)["state"] == "rolled_back"
    trail = [one["action"] for one in run(folder, "audit")["audit"]]
    assert trail[-3:] == ["rollout: rollback began", "directive changed", "rollout: ended"]


def test_failures_of_a_kind_have_a_limit_of_their_own(folder: Path) -> None:
    run(folder, "rollout", "create", SHA_B, "--max-rejected", "1", "--max-rolled-back", "0")
    report(folder, 1, 1, DeviceState.REJECTED, SHA_A)
    assert run(folder, "rollout", "status")["state"] == "active"
    report(folder, 2, 1, DeviceState.ROLLED_BACK, SHA_A)
    told = run(folder, "rollout", "status")
    assert told["state"] == "rolling_back"
    assert "(rolled_back), 0 were allowed" in told["reason"]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--waves", "5%;9%", "no share"),
        ("--waves", "50%,5%", "waves must grow"),
        ("--waves", "101%", "more than all"),
        ("--window", "25:00-26:00", "HH:MM-HH:MM"),
        ("--select", "pump", "KEY=VALUE"),
        ("--min-success", "1.5", "min_success"),
        ("--soak-s", "nan", "soak_s"),
        ("--max-rejected", "-1", "max_failures"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_when_it_is_made(
    folder: Path, option: str, value: str, told: str
) -> None:
    assert told in run(folder, "rollout", "create", option, value, expect=1)["error"]
    assert run(folder, "rollout", "history")["rollouts"] == []


def test_commands_without_a_fleet_or_a_rollout_say_so(tmp_path: Path, folder: Path) -> None:
    assert "holds no fleet" in run(tmp_path / "no", "rollout", "status", expect=1)["error"]
    assert "no rollout yet" in run(folder, "rollout", "pause", expect=1)["error"]
    assert "no rollout 7" in run(folder, "rollout", "status", "7", expect=1)["error"]


@pytest.mark.needs("mosquitto")
def test_a_release_that_the_canary_refuses_reaches_nobody_else(
    fleet: Fleet, edges: Callable[[str], EdgeProcess], model_a: bytes
) -> None:
    names = ["gw-1", "gw-2", "gw-3"]
    fleet.serve()
    for name in names:
        edges(name)
    wait_until(lambda: sorted(fleet.gateways()) == names, "every gateway is known")
    good = fleet.publish(model_a)
    fleet.on_state("rollout", "create", "--wait", "--timeout", "90")
    fleet.publish(tiny_model([Channel("humidity", "%"), Channel("pressure", "bar")], seed=3))
    said = fleet.on_state(
        *("rollout", "create", "--waves", "1,100%", "--min-success", "1", "--wait"), expect=3
    )
    assert said["state"] == "aborted"
    assert len(said["failed"]) == 1
    assert {one.model for one in fleet.gateways().values()} == {good}
    history = fleet.on_state("rollout", "history")["rollouts"]
    assert [one["state"] for one in history] == ["complete", "aborted"]
