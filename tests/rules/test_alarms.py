"""An alarm's life after ISA-18.2: laws over any course of scores and any operator's actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.alarms import (
    AlarmHead,
    AlarmPolicy,
    Judgement,
    PolicyError,
    Transition,
    command,
    judge,
)
from foreshock_wire.messages import AlarmAction, AlarmState

STANDING = {AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED}
POLICIES = st.builds(
    AlarmPolicy,
    on_margin=st.just(1.0),
    off_margin=st.sampled_from([1.0, 0.0]),
    on_delay_ns=st.sampled_from([0, 1, 5]),
    off_delay_ns=st.sampled_from([0, 1, 5]),
    latching=st.booleans(),
)
MARGINS = st.sampled_from([-1.0, -0.1, 0.0, 0.5, 1.0, 2.0, float("inf"), float("-inf")])


class Score(NamedTuple):
    """A score, `after_ns` later than the one before."""

    after_ns: int
    margin: float


class Action(NamedTuple):
    """An operator's action; a shelf lasts `for_ns` of machine time, or until it is lifted."""

    action: AlarmAction
    for_ns: int | None


SCORES = st.builds(Score, st.integers(1, 4), MARGINS)
ACTIONS = st.builds(Action, st.sampled_from(AlarmAction), st.none() | st.integers(-2, 12))
COURSES = st.lists(SCORES | ACTIONS, max_size=60)


@dataclass
class Life:
    """An alarm that is led through a course, and everything that happened to it."""

    policy: AlarmPolicy
    head: AlarmHead = field(default_factory=AlarmHead)
    steps: list[tuple[AlarmHead, Score | Action, Judgement]] = field(default_factory=list)

    def lead(self, course: list[Score | Action]) -> Life:
        for step in course:
            before, judgement = self.head, self._take(step)
            self.head = judgement.head
            self.steps.append((before, step, judgement))
        return self

    def _take(self, step: Score | Action) -> Judgement:
        now = self.head.time_ns
        if isinstance(step, Score):
            return judge(self.head, self.policy, now + step.after_ns, step.margin)
        until = None if step.for_ns is None else now + step.for_ns
        return command(self.head, step.action, until_ns=until)

    @property
    def transitions(self) -> list[Transition]:
        return [j.transition for _, _, j in self.steps if j.transition is not None]


LIVES = st.builds(lambda policy, course: Life(policy).lead(course), POLICIES, COURSES)


@given(life=LIVES)
def test_an_episode_is_counted_when_it_is_raised_and_only_then(life: Life) -> None:
    for before, _, judgement in life.steps:
        raised = judgement.transition is Transition.RAISED
        assert judgement.head.episode == before.episode + raised
        if raised:
            assert judgement.head.state is AlarmState.UNACKNOWLEDGED
            assert judgement.head.raised_ns == judgement.head.time_ns
        else:
            assert judgement.head.raised_ns == before.raised_ns


@given(life=LIVES)
def test_between_two_alarms_the_first_was_cleared_or_shelved(life: Life) -> None:
    """One alarm per episode, whatever the operator does meanwhile."""
    standing = False
    for transition in life.transitions:
        if transition is Transition.RAISED:
            assert not standing
            standing = True
        elif transition in (Transition.CLEARED, Transition.SHELVED):
            standing = False


@given(policy=POLICIES, scores=st.lists(SCORES, max_size=60))
def test_delays_and_deadband_are_those_of_the_definition(
    policy: AlarmPolicy, scores: list[Score]
) -> None:
    """Without an operator: raised and cleared exactly when the condition held long enough."""
    life = Life(policy).lead(list(scores))
    assert [judgement.transition for _, _, judgement in life.steps] == expected(policy, scores)


def expected(policy: AlarmPolicy, scores: list[Score]) -> list[Transition | None]:
    """What the definition says of each score, from the whole course so far."""
    times, conditions, now = list[int](), list[bool](), 0
    said, standing = list[Transition | None](), False
    for after_ns, margin in scores:
        now += after_ns
        was = conditions[-1] if conditions else False
        inside_deadband = policy.off_margin <= margin < policy.on_margin
        conditions.append(was if inside_deadband else margin >= policy.on_margin)
        times.append(now)
        held = now - run_start(times, conditions)
        rises = conditions[-1] and not standing and held >= policy.on_delay_ns
        gone = not conditions[-1] and standing and held >= policy.off_delay_ns
        clears = gone and not policy.latching
        standing = (standing or rises) and not clears
        said.append(Transition.RAISED if rises else Transition.CLEARED if clears else None)
    return said


def run_start(times: list[int], conditions: list[bool]) -> int:
    """When the condition took the value it has now; never true before the first score."""
    changed = [
        times[i] for i in range(len(times)) if conditions[i] != (conditions[i - 1] if i else False)
    ]
    return changed[-1] if changed else 0


@given(life=LIVES)
def test_the_condition_keeps_its_value_in_the_deadband(life: Life) -> None:
    for before, step, judgement in life.steps:
        if not isinstance(step, Score):
            assert judgement.head.condition == before.condition
        elif step.margin >= life.policy.on_margin:
            assert judgement.head.condition
        elif step.margin < life.policy.off_margin:
            assert not judgement.head.condition
        else:
            assert judgement.head.condition == before.condition


@given(life=LIVES)
def test_only_these_ways_lead_from_state_to_state(life: Life) -> None:
    unacknowledged, acknowledged = AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED
    returned, normal = AlarmState.RETURN_TO_NORMAL_UNACKNOWLEDGED, AlarmState.NORMAL
    shelved = AlarmState.SHELVED
    ways = {
        Transition.RAISED: {(s, unacknowledged) for s in (normal, returned, shelved)},
        Transition.CLEARED: {(unacknowledged, returned), (acknowledged, normal)},
        Transition.ACKNOWLEDGED: {(unacknowledged, acknowledged), (returned, normal)},
        Transition.SHELVED: {(state, shelved) for state in AlarmState if state is not shelved},
        Transition.UNSHELVED: {(shelved, normal)},
    }
    for before, _, (head, transition) in life.steps:
        if transition is None:
            assert head.state is before.state
        else:
            assert (before.state, head.state) in ways[transition]
        assert head.shelved_until_ns is None or head.state is shelved


@given(life=LIVES)
def test_a_latching_alarm_stays_until_somebody_answers_it(life: Life) -> None:
    for before, step, judgement in life.steps:
        if life.policy.latching and before.state is AlarmState.UNACKNOWLEDGED:
            answered = isinstance(step, Action)
            assert answered or judgement.head.state is AlarmState.UNACKNOWLEDGED


@given(life=LIVES)
def test_a_shelf_is_silent_until_its_time_and_not_longer(life: Life) -> None:
    for before, step, judgement in life.steps:
        if before.state is not AlarmState.SHELVED or not isinstance(step, Score):
            continue
        until = before.shelved_until_ns
        over = until is not None and judgement.head.time_ns >= until
        assert (judgement.head.state is AlarmState.SHELVED) != over


@given(life=LIVES, policy=POLICIES, margin=MARGINS | st.just(float("nan")), back=st.integers(0, 9))
def test_what_is_old_or_has_no_value_changes_nothing(
    life: Life, policy: AlarmPolicy, margin: float, back: int
) -> None:
    assert judge(life.head, policy, life.head.time_ns - back, margin) == Judgement(life.head)
    later = life.head.time_ns + 1
    assert judge(life.head, policy, later, float("nan")) == Judgement(life.head)


@given(policy=POLICIES, course=COURSES, cut=st.integers(0, 60))
def test_a_stored_head_is_the_whole_state(
    policy: AlarmPolicy, course: list[Score | Action], cut: int
) -> None:
    """Stopped anywhere and started again from the head alone, the course goes on alike."""
    whole = Life(policy).lead(course)
    first = Life(policy).lead(course[:cut])
    second = Life(policy, first.head).lead(course[cut:])
    assert first.transitions + second.transitions == whole.transitions
    assert second.head == whole.head


def test_acknowledging_does_not_shorten_the_off_delay() -> None:
    """A flicker of the cause while the operator answers is no second alarm."""
    policy = AlarmPolicy(1.0, 1.0, off_delay_ns=10)
    life = Life(policy).lead(
        [Score(1, 2.0), Score(1, 0.0), Action(AlarmAction.ACKNOWLEDGE, None), Score(1, 2.0)]
    )
    assert life.transitions == [Transition.RAISED, Transition.ACKNOWLEDGED]
    assert (life.head.state, life.head.episode) == (AlarmState.ACKNOWLEDGED, 1)


def test_the_life_of_a_latched_alarm() -> None:
    policy = AlarmPolicy(1.0, 0.0, latching=True)
    life = Life(policy).lead(
        [Score(1, 2.0), Score(1, -1.0), Action(AlarmAction.ACKNOWLEDGE, None), Score(1, -1.0)]
    )
    assert life.transitions == [Transition.RAISED, Transition.ACKNOWLEDGED, Transition.CLEARED]
    assert life.head.state is AlarmState.NORMAL


def test_a_condition_that_outlasts_its_shelf_is_raised_anew() -> None:
    policy = AlarmPolicy(1.0, 0.0, on_delay_ns=2)
    life = Life(policy).lead(
        [Score(1, 2.0), Score(2, 2.0), Action(AlarmAction.SHELVE, 3), Score(2, 2.0), Score(1, 2.0)]
    )
    assert life.transitions == [Transition.RAISED, Transition.SHELVED, Transition.RAISED]
    assert life.head.episode == 2


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"on_margin": 0.0, "off_margin": 1.0}, "off_margin 1.0 must not exceed on_margin 0.0"),
        ({"on_margin": float("nan"), "off_margin": 0.0}, "NaN"),
        ({"on_margin": 1.0, "off_margin": 0.0, "on_delay_ns": -1}, "negative"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    limits: dict[str, float], named: str
) -> None:
    with pytest.raises(PolicyError, match=named):
        AlarmPolicy(**limits)  # type: ignore[arg-type]
