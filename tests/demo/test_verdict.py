"""Alarms against failures: true, false, missed, averted, and the time between."""

from __future__ import annotations

from foreshock.demo.verdict import HOUR_NS, Event, Raised, judge_alarms

END_NS = 1000 * HOUR_NS


def failure(hour: float, machine: str = "pump-01", mode: str = "bearing_wear") -> Event:
    return Event(machine, round(hour * HOUR_NS), "failure", mode)


def alarm(hour: float, machine: str = "pump-01") -> Raised:
    return Raised(machine, round(hour * HOUR_NS))


def test_an_alarm_before_a_failure_is_true_and_its_lead_is_the_time_between() -> None:
    verdict = judge_alarms([alarm(100)], [failure(130)], END_NS)
    assert (verdict.true, verdict.false, verdict.missed) == (1, 0, 0)
    assert verdict.lead_time_h_p50 == 30


def test_the_lead_of_a_failure_is_that_of_its_first_alarm() -> None:
    verdict = judge_alarms([alarm(100), alarm(120)], [failure(130)], END_NS)
    assert (verdict.true, verdict.lead_times_h) == (2, [30])


def test_an_alarm_that_no_failure_follows_in_time_is_false() -> None:
    verdict = judge_alarms([alarm(100)], [failure(200)], END_NS)
    assert (verdict.true, verdict.false, verdict.missed) == (0, 1, 1)


def test_an_alarm_after_the_failure_does_not_count_for_it() -> None:
    verdict = judge_alarms([alarm(131)], [failure(130)], END_NS)
    assert (verdict.true, verdict.false, verdict.missed) == (0, 1, 1)


def test_another_machines_failure_proves_nothing() -> None:
    verdict = judge_alarms([alarm(100)], [failure(130, "fan-01")], END_NS)
    assert (verdict.true, verdict.false, verdict.missed) == (0, 1, 1)


def test_an_alarm_whose_answer_lies_beyond_the_end_is_open() -> None:
    verdict = judge_alarms([alarm(990)], [], END_NS)
    assert (verdict.open, verdict.false) == (1, 0)


def test_an_alarm_that_maintenance_answers_is_averted() -> None:
    events = [Event("pump-01", 110 * HOUR_NS, "maintenance"), failure(130)]
    verdict = judge_alarms([alarm(100)], events, END_NS)
    assert (verdict.averted, verdict.true, verdict.missed) == (1, 0, 1)


def test_a_sudden_failure_is_missed_and_said_to_be_sudden() -> None:
    verdict = judge_alarms([], [failure(130, mode="sudden"), failure(300)], END_NS)
    assert (verdict.failures, verdict.missed, verdict.missed_sudden) == (2, 2, 1)
    assert verdict.lead_time_h_p50 is None
