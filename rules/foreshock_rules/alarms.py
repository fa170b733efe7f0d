"""Scores become alarms: the life of one machine's alarm after ISA-18.2-2016 (figure 3).

Decisions are made in margin space (log-odds), where the converter's parity proof holds. All delays
run in the machine's event time, which is passed in. One alarm per episode: an episode begins when
the condition has held for the on-delay, and ends when it has been absent for the off-delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import AlarmAction, AlarmState

SECOND_NS: Final = 1_000_000_000


class PolicyError(ForeshockError):
    """Limits of an alarm that contradict each other."""


@dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """When an alarm is raised and cleared.

    The condition is true from `on_margin` up, false below `off_margin`, and keeps its value in the
    deadband between. A latching alarm stays until it is acknowledged, even if its cause is gone.

    Raises:
        PolicyError: the deadband is upside down, or a delay is negative.
    """

    on_margin: float
    off_margin: float
    on_delay_ns: int = 0
    off_delay_ns: int = 0
    latching: bool = False

    def __post_init__(self) -> None:
        if not self.off_margin <= self.on_margin:
            raise PolicyError(
                f"alarm limits: off_margin {self.off_margin} must not exceed "
                f"on_margin {self.on_margin}, and neither may be NaN"
            )
        if self.on_delay_ns < 0 or self.off_delay_ns < 0:
            raise PolicyError(
                f"alarm delays: {self.on_delay_ns} and {self.off_delay_ns} ns must not be negative"
            )

    @classmethod
    def around(
        cls,
        on_margin: float,
        *,
        deadband: float,
        on_delay_s: float,
        off_delay_s: float,
        latching: bool,
    ) -> Self:
        """Return the policy around a margin, as settings say it."""
        on_delay_ns, off_delay_ns = round(on_delay_s * SECOND_NS), round(off_delay_s * SECOND_NS)
        return cls(on_margin, on_margin - deadband, on_delay_ns, off_delay_ns, latching)


class AlarmHead(NamedTuple):
    """The durable state of one machine's alarm.

    `time_ns` is the newest event time judged; `condition` the process condition with its deadband;
    `since_ns` when it last changed; `raised_ns` when the running (or last) episode was raised.
    """

    state: AlarmState = AlarmState.NORMAL
    episode: int = 0
    time_ns: int = 0
    condition: bool = False
    since_ns: int = 0
    raised_ns: int | None = None
    shelved_until_ns: int | None = None

    @property
    def standing(self) -> tuple[object, ...]:
        """All but `time_ns`, which moves with every score."""
        return self.state, self.episode, *self[3:]


class Transition(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"


class Judgement(NamedTuple):
    """The head after a step, and what happened, if anything did."""

    head: AlarmHead
    transition: Transition | None = None


_STANDING = frozenset({AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED})


def judge(head: AlarmHead, policy: AlarmPolicy, time_ns: int, margin: float) -> Judgement:
    """Judge one score.

    A score that is not newer than the head is historical and changes nothing, and neither does a
    score without a value (NaN).
    """
    if time_ns <= head.time_ns or math.isnan(margin):
        return Judgement(head)
    condition = margin >= (policy.off_margin if head.condition else policy.on_margin)
    state, episode, _, before, since_ns, *rest = head
    if condition != before:
        since_ns = time_ns
    head = AlarmHead(state, episode, time_ns, condition, since_ns, *rest)
    if head.state is AlarmState.SHELVED:
        return _shelved(head, policy)
    return _settled(head, policy)


def back_at(head: AlarmHead, time_ns: int) -> AlarmHead:
    """Return the head of a machine whose time turned out to be no later than this."""
    time_ns = min(head.time_ns, time_ns)
    return head._replace(time_ns=time_ns, since_ns=min(head.since_ns, time_ns))


def _settled(head: AlarmHead, policy: AlarmPolicy) -> Judgement:
    held_ns = head.time_ns - head.since_ns
    if head.condition and head.state not in _STANDING and held_ns >= policy.on_delay_ns:
        raised = head._replace(
            state=AlarmState.UNACKNOWLEDGED,
            episode=head.episode + 1,
            raised_ns=head.time_ns,
        )
        return Judgement(raised, Transition.RAISED)
    if not head.condition and head.state in _STANDING and held_ns >= policy.off_delay_ns:
        return _cleared(head, policy)
    return Judgement(head)


def _cleared(head: AlarmHead, policy: AlarmPolicy) -> Judgement:
    if head.state is AlarmState.ACKNOWLEDGED:
        return Judgement(head._replace(state=AlarmState.NORMAL), Transition.CLEARED)
    if policy.latching:
        return Judgement(head)
    state = AlarmState.RETURN_TO_NORMAL_UNACKNOWLEDGED
    return Judgement(head._replace(state=state), Transition.CLEARED)


def _shelved(head: AlarmHead, policy: AlarmPolicy) -> Judgement:
    if head.shelved_until_ns is None or head.time_ns < head.shelved_until_ns:
        return Judgement(head)
    released = head._replace(state=AlarmState.NORMAL, shelved_until_ns=None)
    settled = _settled(released, policy)
    return Judgement(settled.head, settled.transition or Transition.UNSHELVED)


def command(head: AlarmHead, action: AlarmAction, *, until_ns: int | None = None) -> Judgement:
    """Apply an operator's action; one that does not fit the state changes nothing.

    Acknowledging answers the alarm and does not end its episode: a cause that is gone still has to
    stay gone for the off-delay. Shelving does end it: a condition that still holds when the shelf
    is lifted is raised anew.
    """
    if action is AlarmAction.ACKNOWLEDGE:
        return _acknowledged(head)
    if action is AlarmAction.SHELVE and head.state is not AlarmState.SHELVED:
        shelved = head._replace(state=AlarmState.SHELVED, shelved_until_ns=until_ns)
        return Judgement(shelved, Transition.SHELVED)
    if action is AlarmAction.UNSHELVE and head.state is AlarmState.SHELVED:
        released = head._replace(state=AlarmState.NORMAL, shelved_until_ns=None)
        return Judgement(released, Transition.UNSHELVED)
    return Judgement(head)


def _acknowledged(head: AlarmHead) -> Judgement:
    if head.state is AlarmState.RETURN_TO_NORMAL_UNACKNOWLEDGED:
        return Judgement(head._replace(state=AlarmState.NORMAL), Transition.ACKNOWLEDGED)
    if head.state is AlarmState.UNACKNOWLEDGED:
        return Judgement(head._replace(state=AlarmState.ACKNOWLEDGED), Transition.ACKNOWLEDGED)
    return Judgement(head)
