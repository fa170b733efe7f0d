from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foreshock_fleet.rollout import (
    FAILED,
    TERMINAL,
    Member,
    Offer,
    RolloutState,
    Standing,
    judge,
    membership_sha256,
    next_counter,
    plan,
    settle,
)
from foreshock_wire.messages import DeviceState
from foreshock_wire.topics import Gateway

states = st.sampled_from(DeviceState)
reports = st.lists(states.filter(lambda state: state is not DeviceState.OFFERED))
gateways = st.integers(0, 999).map(lambda number: Gateway("north", f"gw-{number}"))


def reduce(told: list[DeviceState]) -> DeviceState:
    state = DeviceState.OFFERED
    for one in told:
        state = settle(state, one)
    return state


@given(states, states)
def test_a_report_that_comes_twice_changes_nothing(known: DeviceState, told: DeviceState) -> None:
    assert settle(settle(known, told), told) == settle(known, told)


@given(reports)
def test_an_end_stays_an_end_and_an_error_outranks_success(told: list[DeviceState]) -> None:
    failures = [state for state in told if state in FAILED]
    ended = [state for state in told if state in TERMINAL]
    if failures:
        assert reduce(told) is failures[0]
    elif ended:
        assert reduce(told) is DeviceState.COMMITTED
    else:
        assert reduce(told) is (told[-1] if told else DeviceState.OFFERED)


@given(st.lists(states, min_size=1))
def test_a_rollout_is_complete_only_when_all_have_committed(members: list[DeviceState]) -> None:
    standings = [Standing(Gateway("north", f"gw-{n}"), 1, state) for n, state in enumerate(members)]
    verdict = judge(standings)
    assert (verdict.state is RolloutState.COMPLETE) == (set(members) == {DeviceState.COMMITTED})
    assert (verdict.state is RolloutState.WAVE_1) == (not set(members) <= TERMINAL)
    groups = (verdict.committed, verdict.failed, verdict.silent, verdict.working)
    assert sorted(one.at.gateway for group in groups for one in group) == sorted(
        one.at.gateway for one in standings
    )
    assert {one.state for one in verdict.silent} <= {DeviceState.OFFERED}


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_counter_is_above_everything_that_either_side_knows(own: int, reported: int) -> None:
    assert next_counter(own, reported) > max(own, reported)


@given(st.lists(gateways, unique=True), st.randoms(use_true_random=False))
def test_everybody_is_offered_it_once_in_an_order_that_repeats(
    members: list[Gateway], chance: object
) -> None:
    assert chance is not None
    there = plan(Member(at) for at in members)
    back = plan(Member(at) for at in reversed(members))
    assert there == back
    assert {offer.at for offer in there} == set(members)
    assert membership_sha256(there) == membership_sha256(reversed(back))


def test_another_member_is_another_membership() -> None:
    one, other = Offer(Gateway("north", "gw-1"), 1), Offer(Gateway("south", "gw-1"), 1)
    assert membership_sha256([one]) != membership_sha256([other])
    assert membership_sha256([one]) != membership_sha256([one, other])
