"""The fleet's state in one SQLite file: schema through sqlite-utils, the rest plain sqlite3."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from foreshock_fleet import rollout as rules
from foreshock_fleet.errors import NoGatewayError, StateError, UnknownReleaseError
from foreshock_fleet.schema import migrate
from foreshock_fleet.state import COORDINATOR, AuditEntry, Device, Directive, Release, Rollout
from foreshock_wire.messages import Desired, DeviceState, ModelRef, Report
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_NEWEST_DIRECTIVES: Final = """
SELECT d.number, d.site, d.gateway, d.counter, d.sha256, d.state,
       r.size, r.block_bytes, r.name, r.version
FROM directives d JOIN releases r USING (sha256)
WHERE d.number > ? AND d.number = (
    SELECT max(number) FROM directives n WHERE n.site = d.site AND n.gateway = d.gateway)
ORDER BY d.number
"""
_MEMBERS: Final = """
SELECT site, gateway, counter, coalesce((
    SELECT max(counter) FROM directives n WHERE n.site = d.site AND n.gateway = d.gateway), 0)
FROM devices d
"""
_SAW_DEVICE: Final = """
INSERT INTO devices (site, gateway, last_seen_ns, state, counter, reason, model, version, accounts,
    problem)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (site, gateway) DO UPDATE SET last_seen_ns = excluded.last_seen_ns,
    state = excluded.state, counter = max(counter, excluded.counter), reason = excluded.reason,
    model = excluded.model, version = excluded.version, accounts = excluded.accounts,
    problem = excluded.problem
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
            _audit(db, release.published_ns, actor, "release published", detail)

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

    def start_rollout(self, sha256: str, actor: str, now_ns: int) -> Rollout:
        """Offer a release to every known gateway; an active rollout is superseded."""
        with self._transaction() as db:
            offers = rules.plan(
                rules.Member(Gateway(site, gateway), own, reported)
                for site, gateway, reported, own in db.execute(_MEMBERS)
            )
            if not offers:
                raise NoGatewayError(
                    "no gateway has reported yet, so there is nobody to roll out to: start agents "
                    "and `foreshock fleet serve` on the same cloud broker first"
                )
            number = self._insert_rollout(db, sha256, offers, now_ns)
            detail = {"rollout": number, "sha256": sha256, "gateways": len(offers)}
            _audit(db, now_ns, actor, "rollout started", detail)
        started = self.rollout(number)
        if started is None:
            raise StateError(f"rollout {number} vanished from the fleet state")
        return started

    def _insert_rollout(
        self, db: sqlite3.Connection, sha256: str, offers: Sequence[rules.Offer], now_ns: int
    ) -> int:
        db.execute(
            "UPDATE rollouts SET state = ? WHERE state = ?",
            (rules.RolloutState.SUPERSEDED, rules.RolloutState.WAVE_1),
        )
        members = rules.membership_sha256(offers)
        cursor = db.execute(
            "INSERT INTO rollouts (sha256, state, members_sha256, started_ns) VALUES (?, ?, ?, ?)",
            (sha256, rules.RolloutState.WAVE_1, members, now_ns),
        )
        number = int(cursor.lastrowid or 0)
        db.executemany(
            "INSERT INTO directives (rollout, site, gateway, counter, sha256, state, reason, "
            "changed_ns) VALUES (?, ?, ?, ?, ?, ?, '', ?)",
            [
                (number, o.at.site, o.at.gateway, o.counter, sha256, DeviceState.OFFERED, now_ns)
                for o in offers
            ],
        )
        return number

    def rollout(self, number: int | None = None) -> Rollout | None:
        """Return a rollout as it stands now; without a number, the newest."""
        row = self._db.execute(
            "SELECT number, sha256, state, members_sha256, started_ns FROM rollouts "
            "WHERE number = coalesce(?, (SELECT max(number) FROM rollouts))",
            (number,),
        ).fetchone()
        if row is None:
            return None
        standings = self._standings(row[0])
        return Rollout(
            number=row[0],
            release=self.release(row[1]),
            state=rules.RolloutState(row[2]),
            members_sha256=row[3],
            started_ns=row[4],
            standings=standings,
            verdict=rules.judge(standings),
        )

    def _standings(self, rollout: int) -> tuple[rules.Standing, ...]:
        rows = self._db.execute(
            "SELECT site, gateway, counter, state, reason FROM directives WHERE rollout = ? "
            "ORDER BY site, gateway",
            (rollout,),
        )
        return tuple(
            rules.Standing(Gateway(site, gateway), counter, DeviceState(state), reason)
            for site, gateway, counter, state, reason in rows
        )

    def directives(self, above: int = 0) -> Sequence[Directive]:
        """Return each gateway's newest directive, those with a number above `above`."""
        return [_directive(row) for row in self._db.execute(_NEWEST_DIRECTIVES, (above,))]

    # Devices --------------------------------------------------------------------------------

    def note_report(self, at: Gateway, report: Report, now_ns: int) -> None:
        """Take a gateway's report into its device, its directive and its rollout."""
        accounts = json.dumps(report.accounts)
        seen = (at.site, at.gateway, now_ns, report.state, report.counter, report.reason)
        with self._transaction() as db:
            new = not db.execute(
                "SELECT 1 FROM devices WHERE site = ? AND gateway = ?", (at.site, at.gateway)
            ).fetchone()
            db.execute(_SAW_DEVICE, (*seen, report.model, report.version, accounts, report.problem))
            if new:
                _audit(db, now_ns, _name(at), "gateway appeared", {"version": report.version})
            self._settle(db, at, report, now_ns)

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
        _audit(db, now_ns, _name(at), "directive changed", detail)
        self._conclude(db, rollout, now_ns)

    def _conclude(self, db: sqlite3.Connection, rollout: int, now_ns: int) -> None:
        (known,) = db.execute("SELECT state FROM rollouts WHERE number = ?", (rollout,)).fetchone()
        verdict = rules.judge(self._standings(rollout))
        if known in {rules.RolloutState.SUPERSEDED, verdict.state}:
            return
        db.execute("UPDATE rollouts SET state = ? WHERE number = ?", (verdict.state, rollout))
        detail = {"rollout": rollout, "failed": [_name(one.at) for one in verdict.failed]}
        _audit(db, now_ns, COORDINATOR, f"rollout is {verdict.state}", detail)

    def devices(self) -> Sequence[Device]:
        """Return every gateway that ever reported."""
        rows = self._db.execute(
            "SELECT site, gateway, last_seen_ns, state, counter, reason, model, version, accounts, "
            "problem FROM devices ORDER BY site, gateway"
        )
        return [_device(row) for row in rows]

    # Audit ----------------------------------------------------------------------------------

    def note(self, actor: str, action: str, detail: Mapping[str, object], now_ns: int) -> None:
        """Add to the audit trail something that changed nothing in here."""
        with self._transaction() as db:
            _audit(db, now_ns, actor, action, detail)

    def audit(self, limit: int = 100) -> Sequence[AuditEntry]:
        """Return the newest audit entries, oldest first."""
        rows = self._db.execute(
            "SELECT at_ns, actor, action, detail FROM audit ORDER BY number DESC LIMIT ?", (limit,)
        ).fetchall()
        return [AuditEntry(at, who, what, json.loads(why)) for at, who, what, why in rows[::-1]]


def _name(at: Gateway) -> str:
    return f"{at.site}/{at.gateway}"


def _audit(
    db: sqlite3.Connection, now_ns: int, actor: str, action: str, detail: Mapping[str, object]
) -> None:
    db.execute(
        "INSERT INTO audit (at_ns, actor, action, detail) VALUES (?, ?, ?, ?)",
        (now_ns, actor, action, json.dumps(detail)),
    )


def _device(row: Any) -> Device:  # noqa: ANN401 - a row of the devices table
    site, gateway, seen, state, counter, reason, model, version, accounts, problem = row
    known = DeviceState(state) if state is not None else None
    at = Gateway(site, gateway)
    told = json.loads(accounts)
    return Device(at, seen, known, counter, reason, model, version, told, problem)


def _directive(row: Any) -> Directive:  # noqa: ANN401 - a row of _NEWEST_DIRECTIVES
    number, site, gateway, counter, sha256, state, size, block_bytes, name, version = row
    ref = ModelRef(sha256=sha256, size=size, block_bytes=block_bytes, name=name, version=version)
    desired = Desired(gateway=gateway, counter=counter, model=ref)
    still_open = DeviceState(state) not in rules.TERMINAL
    return Directive(number, Gateway(site, gateway), desired, still_open)
