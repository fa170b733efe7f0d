"""The rules of a rollout: a state machine over values, without socket, clock, file or database.

`step` says what is due now, `obey` what a person's command does; both answer with events, and
`apply` is the only way from one state to the next. What is stored after each event is all that is
needed to go on, so a coordinator may be killed between any two.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from foreshock_fleet import health as live
from foreshock_fleet.errors import IllegalCommandError
from foreshock_fleet.events import (
    Approved,
    Ended,
    Event,
    Offered,
    Paused,
    Resumed,
    RollbackBegan,
    RolloutState,
    WavePassed,
    WaveSettled,
    WaveUnsettled,
)
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foreshock_fleet.plan import Plan
    from foreshock_wire.topics import Gateway


FAILED: Final = frozenset({DeviceState.REJECTED, DeviceState.ROLLED_BACK})
TERMINAL: Final = FAILED | {DeviceState.COMMITTED}
OPEN: Final = frozenset(
    {
        RolloutState.AWAITING_APPROVAL,
        RolloutState.ACTIVE,
        RolloutState.PAUSED,
        RolloutState.ROLLING_BACK,
    }
)
"""States in which something may still happen by itself or by a command."""

_STOPPABLE: Final = OPEN - {RolloutState.ROLLING_BACK}
_REVERSIBLE: Final = frozenset({RolloutState.COMPLETE, RolloutState.INCOMPLETE})


@dataclass(frozen=True, slots=True)
class Standing:
    """One member's place in a rollout; without a counter it has not been offered anything yet.

    `before` is the model it ran when the rollout began, `back` and `back_state` the counter and the
    state of the directive that takes it back there. `blocks` is how many device-blocks of its trial
    it has told of; one that has no other model to compare with tells of none.
    """

    at: Gateway
    wave: int
    counter: int = 0
    state: DeviceState = DeviceState.OFFERED
    reason: str = ""
    before: str | None = None
    back: int = 0
    back_state: DeviceState = DeviceState.OFFERED
    blocks: int = 0
    compares: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a rollout has come to; `settled_ns` is since when its wave passes the gates."""

    state: RolloutState
    wave: int
    members: tuple[Standing, ...]
    settled_ns: int | None = None
    reason: str = ""
    health: live.Health = field(default_factory=live.Health)

    @property
    def waves(self) -> int:
        """How many waves there are."""
        return max(one.wave for one in self.members)


class Command(StrEnum):
    """What a person can say to a rollout."""

    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    ROLLBACK = "rollback"
    SUPERSEDE = "supersede"


# From members to a beginning --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A gateway when a rollout begins, and the model that it would be taken back to.

    `compares` is false where it runs no model, or the new one already.
    """

    at: Gateway
    before: str | None = None
    compares: bool = True


def begin(plan: Plan, members: Iterable[Member]) -> Progress:
    """Freeze who is in a rollout and in which wave; the order is a hash, so it favours nobody."""
    ordered = sorted(members, key=lambda one: _place(one.at))
    ends = plan.sizes(len(ordered))
    standings = tuple(
        Standing(
            one.at, 1 + sum(end <= place for end in ends), before=one.before, compares=one.compares
        )
        for place, one in enumerate(ordered)
    )
    state = RolloutState.AWAITING_APPROVAL if plan.approval else RolloutState.ACTIVE
    return Progress(state, 1, standings)


def _place(at: Gateway) -> str:
    return hashlib.sha256(f"{at.site}/{at.gateway}".encode()).hexdigest()


def next_counter(own: int, reported: int) -> int:
    """Return the counter of a gateway's next directive.

    A coordinator that was restored from a backup knows less than its gateways, hence the maximum.
    """
    return max(own, reported) + 1


def membership_sha256(ats: Iterable[Gateway]) -> str:
    """Return the hash that freezes who is in a rollout."""
    names = sorted(f"{at.site}/{at.gateway}" for at in ats)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def settle(known: DeviceState, reported: DeviceState) -> DeviceState:
    """Return a directive's state after a report about it.

    An end stays an end, whatever comes late or twice, except that an error outranks success. An
    earlier step may come again: the gateway was restarted in the middle.
    """
    if known in FAILED or (known in TERMINAL and reported not in FAILED):
        return known
    return reported


# What is due ------------------------------------------------------------------------------------


def step(plan: Plan, progress: Progress, now_ns: int) -> Sequence[Event]:
    """Return what happens now by itself; nothing, when there is nothing to do yet."""
    if progress.state is RolloutState.ROLLING_BACK:
        return _end_of_rollback(progress)
    if progress.state not in {RolloutState.ACTIVE, RolloutState.PAUSED}:
        return ()
    if reason := _too_many_failures(plan, progress) or _worse(plan, progress):
        return _take_back(progress, reason)
    if progress.state is RolloutState.PAUSED:
        return ()
    if ats := _to_offer(plan, progress, now_ns):
        return (Offered(ats),)
    return _gate(plan, progress, now_ns)


def _too_many_failures(plan: Plan, progress: Progress) -> str:
    found = Counter(str(one.state) for one in progress.members if one.state in FAILED)
    found["any"] = found.total()
    for kind, most in plan.max_failures.items():
        if found[kind] > most:
            return f"{found[kind]} gateways failed ({kind}), {most} were allowed"
    return ""


def _worse(plan: Plan, progress: Progress) -> str:
    return live.why_worse(plan.health, progress.health) if plan.health else ""


def _to_offer(plan: Plan, progress: Progress, now_ns: int) -> tuple[Gateway, ...]:
    if plan.window is not None and not plan.window.is_open(now_ns):
        return ()
    busy = Counter(one.at.site for one in progress.members if _in_progress(one))
    chosen = []
    for one in progress.members:
        if one.wave > progress.wave or one.counter:
            continue
        if plan.per_site is None or busy[one.at.site] < plan.per_site:
            busy[one.at.site] += 1
            chosen.append(one.at)
    return tuple(chosen)


def _in_progress(one: Standing) -> bool:
    return one.counter > 0 and one.state not in TERMINAL


def _gate(plan: Plan, progress: Progress, now_ns: int) -> Sequence[Event]:
    wave = [one for one in progress.members if one.wave == progress.wave]
    ended = [one for one in wave if one.counter and one.state in TERMINAL]
    good = sum(one.state is DeviceState.COMMITTED for one in ended)
    # Even if everybody who is still silent succeeded, it could not become enough.
    if good + len(wave) - len(ended) < plan.min_success * len(wave):
        return _take_back(progress, f"{good} of {len(wave)} gateways of a wave succeeded")
    passes = (
        all(one.counter for one in wave)
        and len(ended) >= plan.min_executed * len(wave)
        and good >= plan.min_success * len(ended)
        and _is_healthy(plan, progress, wave)
    )
    if not passes:
        return (WaveUnsettled(),) if progress.settled_ns is not None else ()
    if progress.settled_ns is None:
        return (WaveSettled(now_ns),)
    if now_ns - progress.settled_ns < plan.soak_s * 1e9:
        return ()
    return (WavePassed(),) if progress.wave < progress.waves else _end(progress)


def _is_healthy(plan: Plan, progress: Progress, wave: Sequence[Standing]) -> bool:
    """Shown to be as good, or not shown to be worse by all the blocks that were planned."""
    gate = plan.health
    if gate is None or live.is_non_inferior(gate, progress.health):
        return True
    committed = [one for one in wave if one.state is DeviceState.COMMITTED]
    return all(one.blocks >= gate.terms.blocks or not one.compares for one in committed)


def _end(progress: Progress) -> Sequence[Event]:
    """The last wave has passed: it is over when nobody is silent, for silence is no success."""
    states = [one.state for one in progress.members]
    if not all(state in TERMINAL for state in states):
        return ()
    failed = any(state in FAILED for state in states)
    return (Ended(RolloutState.INCOMPLETE if failed else RolloutState.COMPLETE),)


def _take_back(progress: Progress, reason: str) -> Sequence[Event]:
    """Also whoever is in the middle, or silent: a late success would be on the wrong model."""
    if not any(_reached(one) for one in progress.members):
        return (Ended(RolloutState.ABORTED, reason),)
    ats = tuple(one.at for one in progress.members if _reached(one) and one.before)
    return (RollbackBegan(ats, reason),)


def _reached(one: Standing) -> bool:
    return one.counter > 0 and one.state not in FAILED


def _end_of_rollback(progress: Progress) -> Sequence[Event]:
    back = [one for one in progress.members if one.back]
    if any(one.back_state not in TERMINAL for one in back):
        return ()
    stuck = [one for one in progress.members if _reached(one) and not one.back]
    failed = [one for one in back if one.back_state in FAILED]
    if stuck or failed:
        names = ", ".join(one.at.gateway for one in [*stuck, *failed][:5])
        return (Ended(RolloutState.ROLLBACK_INCOMPLETE, f"not back: {names}"),)
    return (Ended(RolloutState.ROLLED_BACK, progress.reason),)


# What a person says -----------------------------------------------------------------------------


def obey(progress: Progress, command: Command, reason: str = "") -> Sequence[Event]:
    """Return what a command does.

    Raises:
        IllegalCommandError: a rollout in this state does not take it.
    """
    state = progress.state
    match command:
        case Command.APPROVE if state is RolloutState.AWAITING_APPROVAL:
            return (Approved(),)
        case Command.PAUSE if state is RolloutState.ACTIVE:
            return (Paused(),)
        case Command.RESUME if state is RolloutState.PAUSED:
            return (Resumed(),)
        case Command.ABORT if state in _STOPPABLE:
            return _take_back(progress, reason)
        case Command.ROLLBACK if state in _REVERSIBLE:
            return _take_back(progress, reason)
        case Command.SUPERSEDE if state in OPEN:
            return (Ended(RolloutState.SUPERSEDED, reason),)
        case _:
            raise IllegalCommandError(f"a rollout that is {state} cannot be told to {command}")


# What an event changes --------------------------------------------------------------------------


def apply(progress: Progress, event: Event, counters: Mapping[Gateway, int]) -> Progress:
    """Return the progress after an event; `counters` has the next one of each gateway."""
    match event:
        case Offered():
            return _offered(progress, event, counters)
        case RollbackBegan():
            return _taken_back(progress, event, counters)
        case WaveSettled() | WaveUnsettled():
            since_ns = event.at_ns if isinstance(event, WaveSettled) else None
            return replace(progress, settled_ns=since_ns)
        case WavePassed():
            return replace(progress, wave=progress.wave + 1, settled_ns=None)
        case Ended(state, reason):
            return replace(progress, state=state, reason=reason)
        case _:
            paused = isinstance(event, Paused)
            return replace(progress, state=RolloutState.PAUSED if paused else RolloutState.ACTIVE)


def _offered(progress: Progress, event: Offered, counters: Mapping[Gateway, int]) -> Progress:
    ats = frozenset(event.ats)
    members = tuple(
        replace(one, counter=counters[one.at]) if one.at in ats else one for one in progress.members
    )
    return replace(progress, members=members)


def _taken_back(
    progress: Progress, event: RollbackBegan, counters: Mapping[Gateway, int]
) -> Progress:
    ats = frozenset(event.ats)
    members = tuple(
        replace(one, back=counters[one.at]) if one.at in ats else one for one in progress.members
    )
    return replace(progress, state=RolloutState.ROLLING_BACK, members=members, reason=event.reason)


# What is told -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a rollout: every member in one of five groups.

    `waiting` was not offered anything yet, `silent` has not said a word about its directive.
    """

    committed: tuple[Standing, ...]
    failed: tuple[Standing, ...]
    silent: tuple[Standing, ...]
    working: tuple[Standing, ...]
    waiting: tuple[Standing, ...]


def judge(standings: Iterable[Standing]) -> Verdict:
    """Sort the members by how far they are."""
    groups: dict[str, list[Standing]] = {name: [] for name in Verdict.__slots__}
    for one in standings:
        groups[_group(one)].append(one)
    return Verdict(**{name: tuple(members) for name, members in groups.items()})


def _group(one: Standing) -> str:
    if not one.counter:
        return "waiting"
    if one.state is DeviceState.COMMITTED:
        return "committed"
    if one.state in FAILED:
        return "failed"
    return "silent" if one.state is DeviceState.OFFERED else "working"
