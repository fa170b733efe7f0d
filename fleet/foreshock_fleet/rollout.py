"""The rules of a rollout: who is in it, with which counter, and when it has succeeded.

Pure: no socket, clock, file or database. One wave for now: every known gateway at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from foreshock_wire.messages import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from foreshock_wire.topics import Gateway


class RolloutState(StrEnum):
    """Where a rollout is (docs/adr/0006); stored and told by these strings."""

    WAVE_1 = "wave_1"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    SUPERSEDED = "superseded"


FAILED: Final = frozenset({DeviceState.REJECTED, DeviceState.ROLLED_BACK})
TERMINAL: Final = FAILED | {DeviceState.COMMITTED}


@dataclass(frozen=True, slots=True)
class Member:
    """A gateway when a rollout begins: the last counter we gave it, and the last it told us."""

    at: Gateway
    own: int = 0
    reported: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """A directive to be: this gateway, this counter."""

    at: Gateway
    counter: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One gateway's place in a rollout."""

    at: Gateway
    counter: int
    state: DeviceState = DeviceState.OFFERED
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a rollout: its state, and every gateway in one of four groups.

    `silent` has not said a word about its directive. Silence is not success.
    """

    state: RolloutState
    committed: tuple[Standing, ...]
    failed: tuple[Standing, ...]
    silent: tuple[Standing, ...]
    working: tuple[Standing, ...]


def next_counter(own: int, reported: int) -> int:
    """Return the counter of a gateway's next directive.

    A coordinator that was restored from a backup knows less than its gateways, hence the maximum.
    """
    return max(own, reported) + 1


def plan(members: Iterable[Member]) -> tuple[Offer, ...]:
    """Return one offer per member, in the order of site and gateway."""
    ordered = sorted(members, key=lambda one: (one.at.site, one.at.gateway))
    return tuple(Offer(one.at, next_counter(one.own, one.reported)) for one in ordered)


def membership_sha256(offers: Iterable[Offer]) -> str:
    """Return the hash that freezes who is in a rollout."""
    names = sorted(f"{offer.at.site}/{offer.at.gateway}" for offer in offers)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def settle(known: DeviceState, reported: DeviceState) -> DeviceState:
    """Return a directive's state after a report about it.

    An end stays an end, whatever comes late or twice, except that an error outranks success. An
    earlier step may come again: the gateway was restarted in the middle.
    """
    if known in FAILED or (known in TERMINAL and reported not in FAILED):
        return known
    return reported


def judge(standings: Iterable[Standing]) -> Verdict:
    """Say how a rollout stands; COMPLETE only when every member has committed."""
    groups: dict[str, list[Standing]] = {"committed": [], "failed": [], "silent": [], "working": []}
    for one in standings:
        groups[_group(one.state)].append(one)
    state = RolloutState.WAVE_1
    if not groups["silent"] and not groups["working"]:
        state = RolloutState.INCOMPLETE if groups["failed"] else RolloutState.COMPLETE
    return Verdict(state, **{name: tuple(members) for name, members in groups.items()})


def _group(state: DeviceState) -> str:
    if state is DeviceState.COMMITTED:
        return "committed"
    if state in FAILED:
        return "failed"
    return "silent" if state is DeviceState.OFFERED else "working"
