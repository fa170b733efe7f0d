"""Live health: a worse model is taken back, an equally good one is not, and nobody counts twice."""

from __future__ import annotations

import contextlib
import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rollout_plants import Candidate, Rehearsal, Setting
from foreshock_fleet.events import RolloutState
from foreshock_fleet.health import (
    BETS,
    Health,
    HealthGate,
    Metric,
    Tally,
    capital,
    compare,
    is_non_inferior,
    non_inferior_capital,
    why_worse,
)
from foreshock_fleet.plan import Plan
from foreshock_fleet.power import detection, power_of
from foreshock_fleet.state import FleetState, Release, open_state
from foreshock_wire.topics import Gateway
from foreshock_wire.trials import LiveHealth, ModelFigures
from foreshock_wire.updates import DeviceState, Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GATE = HealthGate()
OLD, NEW = "a" * 64, "b" * 64
ONE, TWO = Gateway("north", "gw-1"), Gateway("north", "gw-2")
counts = st.integers(0, 300)
tallies = st.builds(Tally, counts, counts, counts)
margins = st.floats(0.01, 0.5)


def block(
    number: int = 1,
    champion: ModelFigures | None = None,
    candidate: ModelFigures | None = None,
    *,
    counter: int = 1,
    begin_ns: int | None = None,
) -> LiveHealth:
    begin = 1000 * number if begin_ns is None else begin_ns
    return LiveHealth(
        gateway=ONE.gateway,
        counter=counter,
        block=number,
        begin_ns=begin,
        end_ns=begin + 1000,
        phase="shadow",
        champion_sha256=OLD,
        candidate_sha256=NEW,
        champion=champion or ModelFigures(windows=60),
        candidate=candidate or ModelFigures(windows=60),
    )


# The test ---------------------------------------------------------------------------------------


@given(tallies, margins)
def test_evidence_is_finite_and_begins_at_one(tally: Tally, margin: float) -> None:
    for found in (capital(tally, margin), non_inferior_capital(tally, margin)):
        assert math.isfinite(found)
        assert found >= 0
    assert capital(Tally(), margin) == non_inferior_capital(Tally(), margin) == 1


@given(tallies, margins)
def test_a_worse_block_never_lowers_the_evidence_and_a_better_one_never_raises_it(
    tally: Tally, margin: float
) -> None:
    worse = Tally(tally.worse + 1, tally.same, tally.better)
    better = Tally(tally.worse, tally.same, tally.better + 1)
    assert capital(worse, margin) >= capital(tally, margin) >= capital(better, margin)
    assert non_inferior_capital(worse, margin) <= non_inferior_capital(tally, margin)


@given(
    st.floats(0.0, 1.0).flatmap(
        lambda worse: st.tuples(st.just(worse), st.floats(0.0, 1.0 - worse))
    ),
    margins,
)
def test_no_bet_gains_on_average_while_the_model_is_not_worse_by_more_than_the_margin(
    chances: tuple[float, float], margin: float
) -> None:
    """The law behind Ville's inequality, for each bet: what one more block multiplies, expected."""
    worse, better = chances
    for share in BETS:
        bet = share / (1 + margin)
        factors = (1 + bet * (1 - margin), 1 - bet * margin, 1 - bet * (1 + margin))
        expected = worse * factors[0] + (1 - worse - better) * factors[1] + better * factors[2]
        assert min(factors) > 0
        assert (expected <= 1 + 1e-9) == (worse - better <= margin + 1e-9 / bet)


def test_it_is_decided_exactly_at_its_level() -> None:
    tally = Tally()
    while not why_worse(GATE, Health({Metric.ERRORS: tally})):
        tally = Tally(tally.worse + 1)
    least = 3 * 2 / GATE.alpha - 2
    assert capital(tally, GATE.margin) >= least
    assert capital(Tally(tally.worse - 1), GATE.margin) < least


def test_the_same_in_every_block_is_shown_to_be_as_good() -> None:
    same = {metric: Tally(same=120) for metric in Metric}
    assert is_non_inferior(GATE, Health(same))
    assert not is_non_inferior(GATE, Health({metric: Tally(same=20) for metric in Metric}))
    assert not is_non_inferior(GATE, Health({**same, Metric.LATENCY: Tally(worse=120)}))


def test_what_is_compared() -> None:
    quiet, loud = ModelFigures(windows=60), ModelFigures(windows=60, alarms=3, errors=1)
    assert compare(block(champion=quiet, candidate=loud)) == {
        Metric.ALARMS: 1,
        Metric.ERRORS: 1,
        Metric.LATENCY: 0,
    }
    fast = ModelFigures(windows=60, latency_us=200.0)
    noisy = ModelFigures(windows=60, latency_us=900.0)
    slow = ModelFigures(windows=60, latency_us=2000.0, missed=1)
    assert compare(block(champion=fast, candidate=noisy))[Metric.LATENCY] == 0
    found = compare(block(champion=fast, candidate=slow))
    assert (found[Metric.LATENCY], found[Metric.MISSED], found[Metric.FALSE_ALARMS]) == (1, 1, 0)


# What it sees -----------------------------------------------------------------------------------


def test_more_blocks_see_smaller_effects() -> None:
    effects = [power_of(GATE, blocks).effect for blocks in (48, 96, 240)]
    assert all(one is not None for one in effects)
    assert all(a > b for a, b in pairwise(one or 0.0 for one in effects))
    assert power_of(GATE, 3).effect is None
    stated = power_of(GATE, 96)
    assert detection(GATE, 96, stated.effect or 0.0) >= stated.power
    assert detection(GATE, 96, 0.0) <= GATE.alpha


@pytest.mark.parametrize("answered", [0.0, 0.8], ids=["without labels", "with labels"])
def test_an_equally_good_but_different_model_is_stopped_in_at_most_one_of_twenty_rollouts(
    answered: float,
) -> None:
    setting = Setting(gateways=10, waves=(4.0, 10.0), answered=answered)
    stopped = [Rehearsal(Candidate(), setting, seed).play().state for seed in range(200)]
    assert stopped.count(RolloutState.ROLLED_BACK) <= 10
    assert stopped.count(RolloutState.COMPLETE) >= 190


@pytest.mark.parametrize(
    "candidate",
    [Candidate(alarms=8.0), Candidate(errors=0.5), Candidate(latency=10.0)],
    ids=["alarms", "errors", "latency"],
)
def test_a_much_worse_model_is_stopped_in_the_canary(candidate: Candidate) -> None:
    for seed in range(5):
        ending = Rehearsal(candidate, Setting(), seed).play()
        assert ending.state is RolloutState.ROLLED_BACK
        assert ending.offered == 8
        assert "without labels" in ending.reason


def test_a_model_that_sees_no_fault_is_stopped_by_labels_only() -> None:
    blind = Candidate(sees=0.0)
    told = Rehearsal(blind, Setting(answered=1.0, faults_a_block=0.3), 1).play()
    assert (told.state, "by labels: more missed" in told.reason) == (RolloutState.ROLLED_BACK, True)
    unseen = Rehearsal(blind, Setting(faults_a_block=0.3), 1).play()
    assert unseen.state is RolloutState.COMPLETE


# What is stored ---------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Iterator[FleetState]:
    with contextlib.closing(open_state(tmp_path)) as opened:
        for number, sha in enumerate((OLD, NEW)):
            opened.add_release(Release(sha, 10, 1024, "pump", "1", "a.onnx", number), "ann")
        for at in (ONE, TWO):
            opened.note_report(at, Report(gateway=at.gateway, model=OLD), 1)
        opened.start_rollout(NEW, "ann", 2, Plan(health=GATE))
        yield opened


def test_a_directive_carries_the_terms_of_the_trial_and_a_rollback_none(state: FleetState) -> None:
    assert {one.desired.trial for one in state.directives()} == {GATE.terms}
    worse = ModelFigures(windows=60, errors=9)
    state.hear([(ONE, block(number, candidate=worse)) for number in range(1, 25)], 3)
    state.advance(4)
    told = state.need_rollout()
    assert told.state is RolloutState.ROLLING_BACK
    assert "more errors in 24 of 24 device-blocks" in told.progress.reason
    assert {one.desired.trial for one in state.directives()} == {None}
    assert {one.desired.model.sha256 for one in state.directives()} == {OLD}


def test_who_has_nothing_to_compare_with_holds_nobody_up(state: FleetState) -> None:
    state.note_report(ONE, Report(gateway=ONE.gateway, model=NEW), 3)
    state.note_report(TWO, Report(gateway=TWO.gateway), 3)
    begun = state.start_rollout(NEW, "ann", 4, Plan(health=GATE))
    for one in begun.standings:
        done = DeviceState.COMMITTED
        told = Report(gateway=one.at.gateway, counter=one.counter, state=done, model=NEW)
        state.note_report(one.at, told, 5)
    assert state.need_rollout().state is RolloutState.COMPLETE


def test_a_copy_of_a_block_changes_nothing(state: FleetState) -> None:
    for _ in range(3):
        assert not state.hear([(ONE, block(1))], 3)
    assert state.need_rollout().progress.health.blocks == 1


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (block(2, begin_ns=1500), "overlaps 1"),
        (block(25), "was not asked for"),
        (block(1, counter=7), "was not told to try"),
    ],
)
def test_a_block_that_is_none_of_ours_is_refused_and_disturbs_nothing(
    state: FleetState, told: LiveHealth, why: str
) -> None:
    refused = state.hear([(ONE, block(1)), (ONE, told), (ONE, block(3))], 3)
    assert [why in str(error) for error in refused] == [True]
    assert state.need_rollout().progress.health.blocks == 2


def test_a_wave_waits_for_the_blocks_of_its_trial(state: FleetState) -> None:
    for at in (ONE, TWO):
        done = Report(gateway=at.gateway, counter=1, state=DeviceState.COMMITTED, model=NEW)
        state.note_report(at, done, 3)
    assert state.need_rollout().state is RolloutState.ACTIVE
    for at in (ONE, TWO):
        told = [block(n).model_copy(update={"gateway": at.gateway}) for n in range(1, 25)]
        assert not state.hear([(at, one) for one in told], 4)
    state.advance(5)
    assert state.need_rollout().state is RolloutState.COMPLETE
