from __future__ import annotations

from typing import Any

import pytest

from foreshock_agent.desk.status_text import status_lines

HOUR_NS = 3_600_000_000_000
NOW_NS = 1_700_000_000_000_000_000


def head(machine: str, state: str, episode: int = 0) -> dict[str, Any]:
    return {"machine": machine, "state": state, "episode": episode}


def score(machine: str, behind_h: float, probability: float | None = 0.25) -> dict[str, Any]:
    at_ns = NOW_NS - round(behind_h * HOUR_NS)
    return {"machine": machine, "time_ns": at_ns, "probability": probability}


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "accounts": {"readings.stored": 12_345_678},
        "lost": {},
        "pending": {"readings": 0},
        "uplink_day": None,
        "machines": 4,
        "model": "f" * 64,
        "alarms": [
            head("fan", "normal"),
            head("pump", "return_to_normal_unacknowledged", 3),
            head("mill", "normal", 1),
        ],
        "scored": [score("fan", 0), score("pump", 0.5, None), score("mill", 7)],
        "dead_letters": [],
        "reload": None,
    }


def test_only_raised_and_silent_machines_are_listed(report: dict[str, Any]) -> None:
    lines = list(status_lines(report))
    at = lines.index("machines: 4 (2 normal, 1 return to normal unacknowledged)")
    assert lines[at + 1 :] == [
        "  mill: normal (episode 1), p = 0.25 at 2023-11-14T15:13:20Z, 7.0 h behind the newest",
        "  pump: return_to_normal_unacknowledged (episode 3), p = none at 2023-11-14T21:43:20Z",
    ]
    assert "12,345,678" in lines[1]


def test_all_machines_are_listed_when_asked_for(report: dict[str, Any]) -> None:
    lines = list(status_lines(report, every=True))
    assert "  fan: normal (episode 0), p = 0.25 at 2023-11-14T22:13:20Z" in lines
    assert len([line for line in lines if line.startswith("  ") and " p = " in line]) == 3


def test_a_machine_that_was_never_scored_says_so(report: dict[str, Any]) -> None:
    report["alarms"].append(head("new", "shelved", 2))
    assert "  new: shelved (episode 2), no score" in list(status_lines(report))


def test_a_store_without_machines_is_told(report: dict[str, Any]) -> None:
    report |= {"alarms": [], "scored": [], "machines": 0, "model": None}
    assert list(status_lines(report))[-2:] == ["model: none (limits)", "machines: 0"]
