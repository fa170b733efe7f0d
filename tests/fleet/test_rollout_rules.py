"""The rollout's state machine: laws over every history, and the cases with a name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from foreshock_fleet.errors import IllegalCommandError
from foreshock_fleet.events import Event, Offered, RollbackBegan, RolloutState
from foreshock_fleet.plan import ONCE, Plan, Window
from foreshock_fleet.rollout import (
    FAILED,
    OPEN,
    TERMINAL,
    Command,
    Member,
    Progress,
    Standing,
    apply,
    begin,
    judge,
    membership_sha256,
    next_counter,
    obey,
    settle,
    step,
)
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState

OLD = "a" * 64
SECOND = 10**9

states = st.sampled_from(DeviceState)
reports = st.lists(states.filter(lambda state: state is not DeviceState.OFFERED))


def gateways(count: int, sites: int = 2) -> list[Gateway]:
    return [Gateway(f"site-{n % sites}", f"gw-{n}") for n in range(count)]


class Simulated:
    """A rollout whose coordinator forgets everything but `progress` between two calls."""

    def __init__(self, plan: Plan, members: int, before: str | None = OLD) -> None:
        self.plan, self.now_ns = plan, 0
        self.progress = begin(plan, [Member(at, before) for at in gateways(members)])
        self.events: list[Event] = []
        self.counters = dict.fromkeys(gateways(members), 0)
        self.run()

    def run(self) -> None:
        for _ in range(100):
            due = step(self.plan, self.progress, self.now_ns)
            if not due:
                return
            for event in due:
                self.take(event)
        raise AssertionError("it never comes to rest")

    def take(self, event: Event) -> None:
        if isinstance(event, Offered | RollbackBegan):
            for at in event.ats:
                self.counters[at] += 1
        self.events.append(event)
        self.progress = apply(self.progress, event, self.counters)

    def say(self, command: Command) -> None:
        for event in obey(self.progress, command):
            self.take(event)
        self.run()

    def report(self, at: Gateway, state: DeviceState, counter: int | None = None) -> None:
        """A gateway reports about the directive that it has."""
        told = self.counters[at] if counter is None else counter
        members = []
        for one in self.progress.members:
            if one.at == at and told and one.counter == told:
                one = replace(one, state=settle(one.state, state))  # noqa: PLW2901
            if one.at == at and told and one.back == told:
                one = replace(one, back_state=settle(one.back_state, state))  # noqa: PLW2901
            members.append(one)
        self.progress = replace(self.progress, members=tuple(members))
        self.run()

    def wave(self, number: int) -> list[Gateway]:
        return [one.at for one in self.progress.members if one.wave == number]

    def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.run()

    def stands(self) -> RolloutState:
        return self.progress.state


# Reports ----------------------------------------------------------------------------------------


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


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_counter_is_above_everything_that_either_side_knows(own: int, reported: int) -> None:
    assert next_counter(own, reported) > max(own, reported)


# Waves ------------------------------------------------------------------------------------------


@given(
    st.integers(1, 300),
    st.lists(st.floats(0.001, 1), min_size=1, max_size=5, unique=True).map(sorted),
)
def test_every_member_is_in_one_wave_and_each_wave_has_somebody(
    members: int, waves: list[float]
) -> None:
    progress = begin(Plan(waves=tuple(waves)), [Member(at) for at in gateways(members)])
    sizes = [sum(one.wave == n for one in progress.members) for n in range(1, progress.waves + 1)]
    assert sum(sizes) == members
    assert all(sizes)
    assert len({one.at for one in progress.members}) == members


def test_the_order_favours_nobody_and_repeats() -> None:
    plan, members = Plan(waves=(0.1, 1)), [Member(at) for at in gateways(40)]
    assert begin(plan, members) == begin(plan, reversed(members))
    assert [one.at for one in begin(plan, members).members] != [one.at for one in members]


def test_another_member_is_another_membership() -> None:
    one, other = Gateway("north", "gw-1"), Gateway("south", "gw-1")
    assert membership_sha256([one]) != membership_sha256([other])
    assert membership_sha256([one, other]) == membership_sha256([other, one])


def test_a_canary_holds_before_the_rest_is_offered_anything() -> None:
    run = Simulated(Plan(waves=(0.1, 1), min_success=1, soak_s=60), 10)
    (canary,) = run.wave(1)
    assert [one.at for one in run.progress.members if one.counter] == [canary]
    run.report(canary, DeviceState.COMMITTED)
    run.pass_time(59)
    assert run.progress.wave == 1
    run.pass_time(1)
    assert run.progress.wave == 2
    for at in run.wave(2):
        run.report(at, DeviceState.COMMITTED)
    run.pass_time(60)
    assert run.stands() is RolloutState.COMPLETE


def test_a_canary_that_fails_late_in_its_soak_takes_everybody_back() -> None:
    run = Simulated(Plan(waves=(2, 10), min_success=0.9, soak_s=60), 10)
    good, bad = run.wave(1)
    for at in (good, bad):
        run.report(at, DeviceState.COMMITTED)
    run.pass_time(59)
    run.report(bad, DeviceState.ROLLED_BACK)
    assert run.stands() is RolloutState.ROLLING_BACK
    assert [one.at for one in run.progress.members if one.back] == [good]
    run.report(good, DeviceState.COMMITTED)
    assert run.stands() is RolloutState.ROLLED_BACK
    assert "1 of 2 gateways of a wave succeeded" in run.progress.reason
    assert not any(one.counter for one in run.progress.members if one.wave == 2)


def test_silence_is_no_success() -> None:
    run = Simulated(Plan(min_executed=0.5), 4)
    first, second, third, fourth = run.wave(1)
    for at in (first, second, third):
        run.report(at, DeviceState.COMMITTED)
    run.pass_time(10**6)
    assert run.stands() is RolloutState.ACTIVE
    assert [one.at for one in judge(run.progress.members).silent] == [fourth]
    run.report(fourth, DeviceState.COMMITTED)
    assert run.stands() is RolloutState.COMPLETE


def test_failures_of_a_kind_beyond_the_limit_end_it_at_once() -> None:
    run = Simulated(Plan(max_failures={"rolled_back": 1}), 5)
    first, second, third, *_ = run.wave(1)
    run.report(first, DeviceState.REJECTED)
    run.report(second, DeviceState.ROLLED_BACK)
    assert run.stands() is RolloutState.ACTIVE
    run.report(third, DeviceState.ROLLED_BACK)
    assert run.stands() is RolloutState.ROLLING_BACK
    # Who is in the middle or silent goes back too; who failed is on the old model already.
    assert sum(bool(one.back) for one in run.progress.members) == 2


def test_an_abort_reaches_devices_in_progress_with_a_higher_counter() -> None:
    run = Simulated(ONCE, 3)
    working, done, silent = run.wave(1)
    run.report(working, DeviceState.DOWNLOADING)
    run.report(done, DeviceState.COMMITTED)
    run.say(Command.ABORT)
    assert {one.at for one in run.progress.members if one.back > one.counter} == {
        working,
        done,
        silent,
    }
    run.report(working, DeviceState.COMMITTED, counter=1)
    assert run.stands() is RolloutState.ROLLING_BACK
    for at in (working, done, silent):
        run.report(at, DeviceState.COMMITTED)
    assert run.stands() is RolloutState.ROLLED_BACK


def test_who_has_nothing_to_go_back_to_is_named() -> None:
    run = Simulated(ONCE, 1, before=None)
    run.report(gateways(1)[0], DeviceState.COMMITTED)
    run.say(Command.ROLLBACK)
    assert run.stands() is RolloutState.ROLLBACK_INCOMPLETE
    assert "not back: gw-0" in run.progress.reason


def test_a_site_has_no_more_in_progress_than_its_limit() -> None:
    run = Simulated(Plan(per_site=1), 6)
    for _ in range(6):
        busy = [one for one in run.progress.members if one.counter and one.state not in TERMINAL]
        sites = [one.at.site for one in busy]
        assert len(sites) == len(set(sites))
        if busy:
            run.report(busy[0].at, DeviceState.COMMITTED)
    assert run.stands() is RolloutState.COMPLETE


def test_a_maintenance_window_that_passes_midnight() -> None:
    window = Window(begin=22 * 60, end=4 * 60)
    open_hours = [hour for hour in range(24) if window.is_open(hour * 3600 * SECOND)]
    assert open_hours == [0, 1, 2, 3, 22, 23]
    run = Simulated(Plan(window=Window(begin=60, end=120)), 2)
    assert not any(one.counter for one in run.progress.members)
    run.pass_time(3600)
    assert all(one.counter for one in run.progress.members)


def test_nothing_begins_before_it_is_approved_and_nobody_new_while_it_is_paused() -> None:
    run = Simulated(Plan(waves=(1e-9, 1), approval=True), 4)
    assert run.stands() is RolloutState.AWAITING_APPROVAL
    assert not any(one.counter for one in run.progress.members)
    run.say(Command.APPROVE)
    run.say(Command.PAUSE)
    (canary,) = run.wave(1)
    run.report(canary, DeviceState.COMMITTED)
    assert (run.stands(), run.progress.wave) == (RolloutState.PAUSED, 1)
    run.say(Command.RESUME)
    assert run.progress.wave == 2


@pytest.mark.parametrize("state", [one for one in RolloutState if one not in OPEN])
def test_what_is_over_takes_no_command_but_a_rollback_of_success(state: RolloutState) -> None:
    run = Simulated(ONCE, 1)
    ended = replace(run.progress, state=state)
    assert step(ONCE, ended, 10**18) == ()
    for command in set(Command) - {Command.ROLLBACK}:
        with pytest.raises(IllegalCommandError, match=str(state)):
            obey(ended, command)


@given(st.lists(states, min_size=1, max_size=8))
def test_once_is_complete_exactly_when_all_have_committed(members: list[DeviceState]) -> None:
    standings = tuple(
        Standing(at, 1, 1, state) for at, state in zip(gateways(len(members)), members, strict=True)
    )
    run = Simulated(ONCE, 1)
    run.progress = Progress(RolloutState.ACTIVE, 1, standings)
    run.run()
    assert (run.stands() is RolloutState.COMPLETE) == (set(members) == {DeviceState.COMMITTED})
    assert (run.stands() is RolloutState.ACTIVE) == (not set(members) <= TERMINAL)


# Every history ----------------------------------------------------------------------------------

plans = st.builds(
    Plan,
    waves=st.sampled_from([(1.0,), (0.2, 1.0), (2.0, 5.0), (0.1, 0.5, 1.0)]),
    min_success=st.sampled_from([0.0, 0.8, 1.0]),
    min_executed=st.sampled_from([0.5, 1.0]),
    soak_s=st.sampled_from([0.0, 10.0]),
    max_failures=st.sampled_from([{}, {"any": 1}, {"rejected": 0}]),
    approval=st.booleans(),
    per_site=st.sampled_from([None, 1]),
)


class EveryHistory(RuleBasedStateMachine):
    """Reports of any order, commands at any time: what must hold in every state."""

    @initialize(plan=plans, members=st.integers(1, 9), before=st.sampled_from([OLD, None]))
    def start(self, plan: Plan, members: int, before: str | None) -> None:
        self.run_ = Simulated(plan, members, before)
        self.frozen = [one.at for one in self.run_.progress.members]
        self.ends = 0

    @rule(data=st.data(), state=states, age=st.integers(0, 1))
    def report(self, data: st.DataObject, state: DeviceState, age: int) -> None:
        at = data.draw(st.sampled_from(self.frozen))
        self.run_.report(at, state, max(0, self.run_.counters[at] - age))

    @rule(seconds=st.sampled_from([0, 5, 20]))
    def wait(self, seconds: int) -> None:
        self.run_.pass_time(seconds)

    @precondition(lambda self: self.run_.stands() in OPEN)
    @rule(command=st.sampled_from([Command.APPROVE, Command.PAUSE, Command.RESUME]))
    def steer(self, command: Command) -> None:
        try:
            self.run_.say(command)
        except IllegalCommandError:
            return

    @rule(command=st.sampled_from([Command.ABORT, Command.ROLLBACK]))
    def take_back(self, command: Command) -> None:
        try:
            self.run_.say(command)
        except IllegalCommandError:
            return

    @invariant()
    def members_are_frozen(self) -> None:
        assert [one.at for one in self.run_.progress.members] == self.frozen

    @invariant()
    def nobody_is_offered_before_his_wave_and_nobody_twice(self) -> None:
        progress, offers = (
            self.run_.progress,
            [at for event in self.run_.events if isinstance(event, Offered) for at in event.ats],
        )
        assert len(offers) == len(set(offers))
        assert all(one.wave <= progress.wave for one in progress.members if one.counter)

    @invariant()
    def complete_means_that_every_member_committed(self) -> None:
        if self.run_.stands() is RolloutState.COMPLETE:
            ended = {one.state for one in self.run_.progress.members}
            assert DeviceState.COMMITTED in ended
            assert ended <= TERMINAL

    @invariant()
    def who_was_taken_back_has_a_higher_counter_and_a_model_to_go_to(self) -> None:
        for one in self.run_.progress.members:
            assert not one.back or (one.back > one.counter and one.before)

    @invariant()
    def rolled_back_leaves_nobody_on_the_new_model(self) -> None:
        if self.run_.stands() is RolloutState.ROLLED_BACK:
            for one in self.run_.progress.members:
                on_it = one.counter and one.state not in FAILED and not one.back
                assert not on_it

    @invariant()
    def it_rests_until_something_happens(self) -> None:
        run = self.run_
        assert not step(run.plan, run.progress, run.now_ns)


EveryHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestEveryHistory = EveryHistory.TestCase
