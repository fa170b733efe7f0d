"""Recorded engines through the whole loop, as an engineer runs it: all real, a few engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300), pytest.mark.needs("dataset:cmapss")]
ENGINES = 12


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("replay") / "show"
    data = f"{os.environ['FORESHOCK_DATA']}/cmapss"
    some = ["--machines", str(ENGINES), "--past", "30", "--gateways", "2"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "foreshock", "demo", "--replay", "cmapss", "--data", data),
            *(*some, "--keep", str(folder), "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_reading_is_in_the_lake_once(replayed: dict[str, Any]) -> None:
    readings = replayed["readings"]
    assert readings["published"] > 10_000
    assert readings["published"] == readings["stored"] == readings["delivered"]
    assert (readings["lost"], readings["duplicated"], readings["rejected"]) == (0, 0, 0)
    assert [gateway["machines"] for gateway in replayed["gateways"]] == [6, 6]


def test_the_same_model_without_mqtt_says_the_same_window_for_window(
    replayed: dict[str, Any],
) -> None:
    parity = replayed["parity"]
    windows = replayed["evaluation"]["all_cycles"]["windows"]
    assert parity["windows"] == parity["stored"] == windows > 1000
    assert parity["margins"] > 0
    differences = ("missing", "extra", "repeated", "other_model", "flips")
    bits = ("unequal_probabilities", "unequal_margins", "max_abs_probability")
    assert {name: parity[name] for name in (*differences, *bits)} == dict.fromkeys(
        (*differences, *bits), 0
    )


def test_the_last_cycle_of_every_engine_is_judged_by_the_official_protocol(
    replayed: dict[str, Any],
) -> None:
    found = replayed["evaluation"]
    assert (found["windows"], found["unscored"]) == (ENGINES, 0)
    assert found["positives"] == 4
    assert found["always_no_accuracy"] == pytest.approx(8 / 12)
    assert found["f1"] > found["always_yes_f1"]
    assert replayed["without_counter"]["windows"] == ENGINES


def test_lead_times_are_judged_on_training_engines(replayed: dict[str, Any]) -> None:
    found = replayed["cross_validated"]
    assert found["machines"] == 30
    assert found["metrics"]["event_failures"] == 30
    assert found["lead_time"]["windows"] > 100
    assert 0.5 < found["lead_time"]["coverage"] <= 1


def refusal(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "foreshock", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_missing_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    said = refusal("--replay", "cmapss", "--data", str(tmp_path), "--plain")
    assert "train_FD001.txt is missing" in said
    assert "foreshock trainer data fetch cmapss" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--replay", "cmapss"], "needs --data"),
        (["--data", "somewhere"], "--data needs --replay"),
        (["--replay", "cmapss", "--data", "x", "--seconds", "30"], "--seconds does not go with"),
    ],
)
def test_options_of_the_other_show_are_refused(arguments: list[str], why: str) -> None:
    assert why in refusal(*arguments)
