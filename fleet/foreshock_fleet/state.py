"""What the fleet remembers, and the interface behind which it does.

SQLite in one file is what comes out of the box (`sqlite_state`); another database is another
class with these methods, and a line in `open_state`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from foreshock_fleet.plan import ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foreshock_fleet.events import RolloutState
    from foreshock_fleet.plan import Plan
    from foreshock_fleet.rollout import Command, Progress, Standing, Verdict
    from foreshock_wire.errors import MessageError
    from foreshock_wire.topics import Gateway
    from foreshock_wire.trials import LiveHealth
    from foreshock_wire.updates import Desired, DeviceState, Halt, Report

COORDINATOR: Final = "coordinator"
"""Who acts in the audit trail where no person does."""


@dataclass(frozen=True, slots=True)
class Release:
    """A published model file; `name` and `version` are the registry's."""

    sha256: str
    size: int
    block_bytes: int
    name: str
    version: str
    path: str
    published_ns: int


@dataclass(frozen=True, slots=True)
class Device:
    """What a gateway last said of itself; all of it reported, none of it assumed.

    `last_good` is the model it would be taken back to. `silent_ns` is when it was last heard, if it
    has vanished; `cloned_ns` when two processes last used its identity in turns.
    """

    at: Gateway
    last_seen_ns: int
    state: DeviceState | None = None
    counter: int = 0
    reason: str = ""
    model: str | None = None
    version: str = ""
    accounts: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    last_good: str | None = None
    drift: Mapping[str, float] = field(default_factory=dict)
    cloned_ns: int | None = None
    silent_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """One release on its way to a frozen set of gateways."""

    number: int
    release: Release
    state: RolloutState
    members_sha256: str
    started_ns: int
    standings: Sequence[Standing]
    verdict: Verdict
    plan: Plan
    progress: Progress


@dataclass(frozen=True, slots=True)
class Directive:
    """What to publish, retained, for one gateway; `number` grows with each directive."""

    number: int
    at: Gateway
    desired: Desired
    open: bool


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and when."""

    at_ns: int
    actor: str
    action: str
    detail: Mapping[str, object]


Heard = tuple["Gateway", "Report | LiveHealth"]
"""Who said what."""


class FleetState(Protocol):
    """Releases, devices, rollouts with their directives, and an append-only audit trail.

    Every change and its audit entry are one transaction.
    """

    def client_id(self) -> str:
        """Return the MQTT client id that this fleet keeps for its persistent session."""

    def add_release(self, release: Release, actor: str) -> None:
        """Publish a release; one that is known already gets the new name and version."""

    def release(self, reference: str) -> Release:
        """Return a release by hash, by a unique beginning of it, or the `latest`.

        Raises:
            UnknownReleaseError: none, or more than one, answers to `reference`.
        """

    def start_rollout(self, sha256: str, actor: str, now_ns: int, plan: Plan = ONCE) -> Rollout:
        """Begin a rollout to the gateways that the plan selects; an open one is superseded.

        Raises:
            HaltedError: the emergency stop stands.
            NoGatewayError: no gateway has reported yet, or none is selected.
        """

    def preview(self, plan: Plan) -> Progress:
        """Return what a rollout with this plan would begin with; nothing is stored.

        Raises:
            NoGatewayError: see `start_rollout`.
        """

    def command(
        self, number: int, command: Command, actor: str, now_ns: int, reason: str = ""
    ) -> Rollout:
        """Tell a rollout what a person wants, and take the steps that follow at once.

        Raises:
            HaltedError: the emergency stop stands; a rollout may be paused nevertheless.
            IllegalCommandError: a rollout in this state does not take it.
            UnknownRolloutError: it never began.
        """

    def advance(self, now_ns: int) -> int:
        """Take every step that is due; return how many."""

    def history(self) -> Sequence[Rollout]:
        """Return every rollout, the oldest first."""

    def need_rollout(self, number: int | None = None) -> Rollout:
        """Return a rollout; without a number, the newest.

        Raises:
            UnknownRolloutError: it never began.
        """

    def set_labels(self, at: Gateway, labels: Mapping[str, str], actor: str, now_ns: int) -> None:
        """Give a gateway labels; an empty value takes one away.

        Raises:
            NoGatewayError: it has never reported.
        """

    def rollout(self, number: int | None = None) -> Rollout | None:
        """Return a rollout as it stands now; without a number, the newest."""

    def note_report(self, at: Gateway, report: Report, now_ns: int) -> None:
        """Take a gateway's report into its device, its directive and its rollout."""

    def hear(self, told: Iterable[Heard], now_ns: int) -> Sequence[MessageError]:
        """Take in what gateways said, in one transaction; `advance` takes the steps that follow.

        What is refused is returned, and disturbs nothing else.

        Raises:
            StateError: the disk refuses; nothing has changed then.
        """

    def halt(self, actor: str, now_ns: int, reason: str = "", *, halted: bool = True) -> Halt:
        """Stop every change everywhere, or end that; where it stands so already nothing changes."""

    def halted(self) -> Halt | None:
        """Return the newest stop or its end; None where the fleet was never stopped."""

    def mark_silent(self, before_ns: int, now_ns: int) -> int:
        """Mark the gateways that were last heard before then; return how many are new."""

    def devices(self) -> Sequence[Device]:
        """Return every gateway that ever reported."""

    def directives(self, above: int = 0) -> Sequence[Directive]:
        """Return each gateway's newest directive, those with a number above `above`."""

    def note(self, actor: str, action: str, detail: Mapping[str, object], now_ns: int) -> None:
        """Add to the audit trail something that changed nothing in here."""

    def audit(self, limit: int = 100) -> Sequence[AuditEntry]:
        """Return the newest audit entries, oldest first."""

    def close(self) -> None:
        """Close the database."""


def open_state(directory: Path) -> FleetState:
    """Open the fleet's state in `directory`, created when it is new.

    Raises:
        StateError: it cannot be opened, or a newer Foreshock wrote it.
    """
    from foreshock_fleet.sqlite_state import SqliteState  # noqa: PLC0415 - the one that is chosen

    return SqliteState(Path(directory) / "fleet.db")


def now_ns() -> int:
    """Return the time of this machine's clock, UTC nanoseconds."""
    return time.time_ns()
