from __future__ import annotations

import numpy as np
import pytest

from foreshock_plant.machine import Event, Life, machine_ids, simulate
from foreshock_plant.parameters import MODES, SUDDEN

HOURS = 2000


@pytest.fixture(scope="module")
def lives() -> list[Life]:
    return [simulate(name, seed=11, hours=HOURS) for name in machine_ids(12)]


def of_kind(life: Life, kind: str) -> list[Event]:
    return [event for event in life.events if event.kind == kind]


def test_wear_never_goes_back_but_by_repair_or_maintenance(lives: list[Life]) -> None:
    for life in lives:
        back = life.running[1:] & ~life.running[:-1]
        drops = np.diff(life.wear, axis=1) < 0
        assert not drops[:, ~back].any()
        assert drops[:, back].any(axis=0).mean() > 0.9


def test_a_failure_is_the_first_step_at_which_wear_passes_its_limit(lives: list[Life]) -> None:
    for life in lives:
        for event in of_kind(life, "failure"):
            if event.mode == SUDDEN or event.step == 0:
                continue
            m = list(MODES).index(event.mode)
            assert life.wear[m, event.step] >= life.limit[m, event.step]
            assert life.wear[m, event.step - 1] < life.limit[m, event.step - 1]


def test_no_running_machine_is_worn_beyond_its_limit(lives: list[Life]) -> None:
    for life in lives:
        assert (life.wear < life.limit)[:, life.running].all()


def test_a_machine_is_silent_from_failure_to_repair_and_only_then_or_in_service(
    lives: list[Life],
) -> None:
    for life in lives:
        np.testing.assert_array_equal(np.isnan(life.values).all(axis=1), ~life.running)
        assert not np.isnan(life.values[life.running]).any()
        for event in of_kind(life, "repaired"):
            assert life.running[event.step]
            assert not life.running[event.step - 1]
        for event in of_kind(life, "failure"):
            assert not life.running[event.step]


def test_every_mode_happens_and_most_failures_announce_themselves(lives: list[Life]) -> None:
    failures = [(life, event) for life in lives for event in of_kind(life, "failure")]
    modes = [event.mode for _, event in failures]
    assert set(modes) >= set(MODES)
    assert modes.count(SUDDEN) < 0.15 * len(modes)
    for life, event in failures:
        if event.mode != SUDDEN and event.step:
            assert life.health[event.step - 1] < 0.2


def test_each_machine_lives_through_several_episodes(lives: list[Life]) -> None:
    episodes = [len(of_kind(life, "failure")) for life in lives]
    assert np.mean(episodes) > 2
    assert 400 < HOURS * len(lives) / sum(episodes) < 900  # hours between failures


def test_maintenance_resets_wear_partly(lives: list[Life]) -> None:
    found = 0
    for life in lives:
        for event in of_kind(life, "maintenance"):
            back = event.step + int(np.argmax(life.running[event.step :]))
            if 0 < event.step < back and life.running[back]:
                share = life.wear[:, back] / np.maximum(life.wear[:, event.step], 1.0)
                assert (share < 0.85).all()
                assert (life.wear[:, back] > 0).all()
                found += 1
    assert found > 10


def test_observation_begins_and_ends_with_an_event(lives: list[Life]) -> None:
    for life in lives:
        steps = [event.step for event in life.events]
        assert life.events[0].kind == "installed"
        assert life.events[-1] == Event(2 * HOURS, "observed_until")
        assert steps == sorted(steps)


def test_load_and_weather_move(lives: list[Life]) -> None:
    for life in lives:
        assert 0.05 < life.load.std() < 0.3
        assert life.load.min() >= 0.2
        assert 2 < life.ambient.std() < 10
