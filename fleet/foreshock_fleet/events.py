"""What happens to a rollout, in the past tense; only these change its state. Pure values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foreshock_wire.topics import Gateway


class RolloutState(StrEnum):
    """Where a rollout is (docs/adr/0013); stored and told by these strings."""

    AWAITING_APPROVAL = "awaiting_approval"
    ACTIVE = "active"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    ROLLBACK_INCOMPLETE = "rollback_incomplete"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Approved:
    """A person let it begin."""


@dataclass(frozen=True, slots=True)
class Offered:
    """These members are offered the release."""

    ats: tuple[Gateway, ...]


@dataclass(frozen=True, slots=True)
class WaveSettled:
    """The wave passes its gates since `at_ns`, and soaks."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class WaveUnsettled:
    """The wave passed its gates and does not any more."""


@dataclass(frozen=True, slots=True)
class WavePassed:
    """The next wave begins."""


@dataclass(frozen=True, slots=True)
class Paused:
    """Nobody new is offered anything."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """It goes on."""


@dataclass(frozen=True, slots=True)
class RollbackBegan:
    """These members are taken back to what they ran before."""

    ats: tuple[Gateway, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over."""

    state: RolloutState
    reason: str = ""


Event = (
    Approved
    | Offered
    | WaveSettled
    | WaveUnsettled
    | WavePassed
    | Paused
    | Resumed
    | RollbackBegan
    | Ended
)


def name_of(event: Event) -> str:
    """Return an event's name in words, for the audit trail: `wave passed`."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", type(event).__name__).lower()
