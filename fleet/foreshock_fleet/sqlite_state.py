"""The fleet's state in one SQLite file: schema through sqlite-utils, the rest plain sqlite3."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from foreshock_fleet import rollout as rules
from foreshock_fleet import sqlite_devices as devices
from foreshock_fleet import sqlite_halts as halts
from foreshock_fleet import sqlite_health
from foreshock_fleet import sqlite_rollouts as rollouts
from foreshock_fleet.errors import (
    NoGatewayError,
    StateError,
    UnknownReleaseError,
    UnknownRolloutError,
)
from foreshock_fleet.events import name_of
from foreshock_fleet.plan import ONCE, Plan
from foreshock_fleet.schema import migrate
from foreshock_fleet.sqlite_audit import audit, newest
from foreshock_fleet.state import COORDINATOR, Directive, Release, Rollout
from foreshock_wire.errors import MessageError
from foreshock_wire.topics import Gateway
from foreshock_wire.trials import LiveHealth
from foreshock_wire.updates import Desired, DeviceState, Halt, ModelRef, Report

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from foreshock_fleet.events import Event
    from foreshock_fleet.state import AuditEntry, Device, Heard

_NEWEST_DIRECTIVES: Final = """
SELECT d.number, d.site, d.gateway, d.counter, d.sha256, d.state,
       r.size, r.block_bytes, r.name, r.version, o.plan, o.sha256 = d.sha256
FROM directives d JOIN releases r USING (sha256) JOIN rollouts o ON o.number = d.rollout
WHERE d.number > ? AND d.number = (
    SELECT max(number) FROM directives n WHERE n.site = d.site AND n.gateway = d.gateway)
ORDER BY d.number
"""


class SqliteState:
    """A `FleetState` in `path`; several processes may hold it open, each in one thread."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self._transaction():
                migrate(self._db, path)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"fleet state {path} cannot be opened: {error}") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE: take the write lock before reading what the write depends on.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def client_id(self) -> str:
        """Return the MQTT client id that this fleet keeps for its persistent session."""
        return str(self._db.execute("SELECT value FROM meta WHERE key='client_id'").fetchone()[0])

    # Releases -------------------------------------------------------------------------------

    def add_release(self, release: Release, actor: str) -> None:
        """Publish a release; one that is known already gets the new name and version."""
        row = (
            *(release.sha256, release.size, release.block_bytes, release.name),
            *(release.version, release.path, release.published_ns),
        )
        with self._transaction() as db:
            # The block size of a known release stays: gateways may be in the middle of it.
            db.execute(
                "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE "
                "SET name = excluded.name, version = excluded.version, path = excluded.path, "
                "published_ns = excluded.published_ns",
                row,
            )
            detail = {"sha256": release.sha256, "name": release.name, "version": release.version}
            audit(db, release.published_ns, actor, "release published", detail)

    def release(self, reference: str) -> Release:
        """Return a release by hash, by a unique beginning of it, or the `latest`."""
        if reference == "latest":
            query, values = "ORDER BY published_ns DESC LIMIT 1", ()
        else:
            query, values = "WHERE substr(sha256, 1, ?) = ?", (len(reference), reference.lower())  # type: ignore[assignment]
        rows = self._db.execute(f"SELECT * FROM releases {query}", values).fetchall()  # noqa: S608
        if len(rows) == 1:
            return Release(*rows[0])
        how_many = "no release" if not rows else f"{len(rows)} releases"
        raise UnknownReleaseError(
            f"{how_many} answer to {reference!r}: publish one with `foreshock fleet publish`, or "
            "see what there is with `foreshock fleet status`"
        )

    # Rollouts -------------------------------------------------------------------------------

    def start_rollout(self, sha256: str, actor: str, now_ns: int, plan: Plan = ONCE) -> Rollout:
        """Begin a rollout to the gateways that the plan selects; an open one is superseded."""
        with self._transaction() as db:
            halts.need_running(db)
            members = self._members(plan, sha256)
            for number in rollouts.numbers(db, rules.OPEN):
                superseded = rules.Command.SUPERSEDE
                self._obey(db, number, superseded, (actor, now_ns), "a newer rollout began")
            begun = rollouts.insert(db, sha256, plan, rules.begin(plan, members), now_ns)
            detail = {"rollout": begun.number, "sha256": sha256, "gateways": len(members)}
            audit(db, now_ns, actor, "rollout started", detail)
            self._advance(db, begun.number, now_ns)
        return self.need_rollout(begun.number)

    def preview(self, plan: Plan) -> rules.Progress:
        """Return what a rollout with this plan would begin with; nothing is stored."""
        return rules.begin(plan, self._members(plan))

    def _members(self, plan: Plan, sha256: str | None = None) -> list[rules.Member]:
        known_devices = self.devices()
        chosen = [one for one in known_devices if plan.matches({"site": one.at.site, **one.labels})]
        if not known_devices:
            raise NoGatewayError(
                "no gateway has reported yet, so there is nobody to roll out to: start agents "
                "and `foreshock fleet serve` on the same cloud broker first"
            )
        if not chosen:
            raise NoGatewayError(
                f"none of the {len(known_devices)} gateways has the labels {dict(plan.select)}: "
                "`foreshock fleet devices` shows them"
            )
        known = {sha256 for (sha256,) in self._db.execute("SELECT sha256 FROM releases")}
        return [_member(one, known, sha256) for one in chosen]

    def command(
        self, number: int, command: rules.Command, actor: str, now_ns: int, reason: str = ""
    ) -> Rollout:
        """Tell a rollout what a person wants, and take the steps that follow at once."""
        who = (actor, now_ns)
        with self._transaction() as db:
            if command is not rules.Command.PAUSE:
                halts.need_running(db)
            self._obey(db, number, command, who, reason)
            self._advance(db, number, now_ns)
        return self.need_rollout(number)

    def advance(self, now_ns: int) -> int:
        """Take every step that is due; return how many."""
        if not rollouts.numbers(self._db, rules.OPEN):
            return 0
        with self._transaction() as db:
            return sum(self._advance(db, one, now_ns) for one in rollouts.numbers(db, rules.OPEN))

    def _obey(
        self,
        db: sqlite3.Connection,
        number: int,
        command: rules.Command,
        who: tuple[str, int],
        reason: str,
    ) -> None:
        stored = rollouts.load(db, number)
        if stored is None:
            raise UnknownRolloutError(f"there is no rollout {number}")
        for event in rules.obey(stored.progress, command, reason):
            stored = self._transit(db, stored, event, who)

    def _advance(self, db: sqlite3.Connection, number: int, now_ns: int) -> int:
        """Take steps until nothing is due; what is stored is whole after each transaction."""
        if (stop := halts.newest(db)) is not None and stop.halted:
            return 0
        stored, steps = rollouts.load(db, number), 0
        while stored and (events := rules.step(stored.plan, stored.progress, now_ns)):
            for event in events:
                stored = self._transit(db, stored, event, (COORDINATOR, now_ns))
                steps += 1
        return steps

    def _transit(
        self,
        db: sqlite3.Connection,
        stored: rollouts.Stored,
        event: Event,
        who: tuple[str, int],
    ) -> rollouts.Stored:
        actor, now_ns = who
        after, told = rollouts.transit(db, stored, event, now_ns)
        detail = {"rollout": stored.number, "state": after.progress.state, **told}
        audit(db, now_ns, actor, f"rollout: {name_of(event)}", detail)
        return after

    def rollout(self, number: int | None = None) -> Rollout | None:
        """Return a rollout as it stands now; without a number, the newest."""
        stored = rollouts.load(self._db, number)
        if stored is None:
            return None
        progress = stored.progress
        return Rollout(
            number=stored.number,
            release=self.release(stored.sha256),
            state=progress.state,
            members_sha256=stored.members_sha256,
            started_ns=stored.started_ns,
            standings=progress.members,
            verdict=rules.judge(progress.members),
            plan=stored.plan,
            progress=progress,
        )

    def need_rollout(self, number: int | None = None) -> Rollout:
        """Return a rollout that must be there."""
        found = self.rollout(number)
        if found is None:
            which = "no rollout yet" if number is None else f"no rollout {number}"
            raise UnknownRolloutError(
                f"there is {which}: `foreshock fleet rollout create` begins one"
            )
        return found

    def history(self) -> Sequence[Rollout]:
        """Return every rollout, the oldest first."""
        numbers = [number for (number,) in self._db.execute("SELECT number FROM rollouts")]
        return [self.need_rollout(number) for number in sorted(numbers)]

    def directives(self, above: int = 0) -> Sequence[Directive]:
        """Return each gateway's newest directive, those with a number above `above`."""
        return [_directive(row) for row in self._db.execute(_NEWEST_DIRECTIVES, (above,))]

    # Devices --------------------------------------------------------------------------------

    def note_report(self, at: Gateway, report: Report, now_ns: int) -> None:
        """Take a gateway's report into its device, its directive and its rollout."""
        with self._transaction() as db:
            self._hear(db, at, report, now_ns)
            for number in rollouts.numbers(db, rules.OPEN):
                self._advance(db, number, now_ns)

    def hear(self, told: Iterable[Heard], now_ns: int) -> Sequence[MessageError]:
        """Take in what gateways said, in one transaction; `advance` takes the steps that follow."""
        refused = []
        try:
            with self._transaction() as db:
                for at, message in told:
                    try:
                        self._hear(db, at, message, now_ns)
                    except MessageError as error:
                        refused.append(error)
        except sqlite3.OperationalError as error:
            raise StateError(f"reports cannot be stored for now: {error}") from None
        return refused

    def _hear(
        self, db: sqlite3.Connection, at: Gateway, told: Report | LiveHealth, now_ns: int
    ) -> None:
        if isinstance(told, LiveHealth):
            sqlite_health.take(db, at, told)
            return
        devices.see(db, at, told, now_ns)
        self._settle(db, at, told, now_ns)

    def halt(self, actor: str, now_ns: int, reason: str = "", *, halted: bool = True) -> Halt:
        """Stop every change everywhere, or end that; where it stands so already nothing changes."""
        with self._transaction() as db:
            return halts.add(db, actor, now_ns, reason, halted=halted)

    def halted(self) -> Halt | None:
        """Return the newest stop or its end; None where the fleet was never stopped."""
        return halts.newest(self._db)

    def mark_silent(self, before_ns: int, now_ns: int) -> int:
        """Mark the gateways that were last heard before then; return how many are new."""
        with self._transaction() as db:
            return devices.mark_silent(db, before_ns, now_ns)

    def _settle(
        self,
        db: sqlite3.Connection,
        at: Gateway,
        report: Report,
        now_ns: int,
    ) -> None:
        row = db.execute(
            "SELECT number, rollout, state, sha256 FROM directives WHERE site = ? AND gateway = ? "
            "AND counter = ?",
            (at.site, at.gateway, report.counter),
        ).fetchone()
        if row is None or report.state is None:
            return
        number, rollout, known = row[0], row[1], DeviceState(row[2])
        if report.state is DeviceState.COMMITTED and report.model not in {None, row[3]}:
            # An older directive of the same counter: this state was restored from a backup.
            return
        settled = rules.settle(known, report.state)
        if settled is known:
            return
        db.execute(
            "UPDATE directives SET state = ?, reason = ?, changed_ns = ? WHERE number = ?",
            (settled, report.reason, now_ns, number),
        )
        detail = {
            "rollout": rollout,
            "counter": report.counter,
            "state": settled,
            "reason": report.reason,
        }
        audit(db, now_ns, devices.name(at), "directive changed", detail)

    def devices(self) -> Sequence[Device]:
        """Return every gateway that ever reported."""
        return devices.everyone(self._db)

    def set_labels(self, at: Gateway, labels: Mapping[str, str], actor: str, now_ns: int) -> None:
        """Give a gateway labels; an empty value takes one away."""
        with self._transaction() as db:
            devices.set_labels(db, at, labels, actor, now_ns)

    # Audit ----------------------------------------------------------------------------------

    def note(self, actor: str, action: str, detail: Mapping[str, object], now_ns: int) -> None:
        """Add to the audit trail something that changed nothing in here."""
        with self._transaction() as db:
            audit(db, now_ns, actor, action, detail)

    def audit(self, limit: int = 100) -> Sequence[AuditEntry]:
        """Return the newest audit entries, oldest first."""
        return newest(self._db, limit)


def _member(device: Device, known: Container[str], sha256: str | None) -> rules.Member:
    # A model that was never published here cannot be signed, so nobody can be taken back to it.
    before = device.last_good if device.last_good in known else None
    return rules.Member(device.at, before, device.model not in {None, sha256})


def _directive(row: Any) -> Directive:  # noqa: ANN401 - a row of _NEWEST_DIRECTIVES
    number, site, gateway, counter, sha256, state, size, block_bytes, name, version, *how = row
    ref = ModelRef(sha256=sha256, size=size, block_bytes=block_bytes, name=name, version=version)
    plan, forward = how
    gate = Plan.model_validate_json(plan).health if forward else None
    terms = gate.terms if gate else None
    desired = Desired(gateway=gateway, counter=counter, model=ref, trial=terms)
    still_open = DeviceState(state) not in rules.TERMINAL
    return Directive(number, Gateway(site, gateway), desired, still_open)
