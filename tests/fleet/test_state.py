from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from foreshock_fleet.errors import NoGatewayError, StateError, UnknownReleaseError
from foreshock_fleet.plan import Plan
from foreshock_fleet.rollout import Command
from foreshock_fleet.state import FleetState, Release, open_state
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState
from tests.fleet.two_gateways import ONE, SHA_A, SHA_B, TWO, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[FleetState]:
    with contextlib.closing(open_state(tmp_path)) as opened:
        opened.add_release(Release(SHA_A, 10, 1024, "pump", "1", "a.onnx", 1), "ann")
        opened.add_release(Release(SHA_B, 20, 1024, "pump", "2", "b.onnx", 2), "ann")
        yield opened


def test_a_release_answers_to_its_hash_its_beginning_and_latest(state: FleetState) -> None:
    assert state.release(SHA_A).version == "1"
    assert state.release("bbbb").sha256 == SHA_B
    assert state.release("latest").sha256 == SHA_B


@pytest.mark.parametrize("reference", ["c", "", "'; DROP TABLE releases; --"])
def test_a_release_that_is_not_one_is_refused(state: FleetState, reference: str) -> None:
    with pytest.raises(UnknownReleaseError, match="publish"):
        state.release(reference)


def test_without_a_gateway_there_is_no_rollout(state: FleetState) -> None:
    with pytest.raises(NoGatewayError, match="no gateway has reported yet"):
        state.start_rollout(SHA_A, "ann", 5)
    assert state.rollout() is None


def test_a_rollout_runs_from_offer_to_complete(state: FleetState) -> None:
    state.note_report(ONE, told(ONE), 1)
    state.note_report(TWO, told(TWO), 1)
    state.start_rollout(SHA_A, "ann", 2)
    assert [d.desired.model.sha256 for d in state.directives()] == [SHA_A, SHA_A]
    for at in (ONE, TWO):
        state.note_report(at, told(at, 1, DeviceState.DOWNLOADING), 3)
        state.note_report(at, told(at, 1, DeviceState.COMMITTED, model=SHA_A), 4)
    done = state.rollout()
    assert done is not None
    assert (done.state, len(done.verdict.committed)) == ("complete", 2)
    assert [device.model for device in state.devices()] == [SHA_A, SHA_A]
    assert [d.open for d in state.directives()] == [False, False]


def test_a_refusal_ends_a_rollout_as_incomplete_with_its_reason(state: FleetState) -> None:
    state.note_report(ONE, told(ONE), 1)
    state.start_rollout(SHA_A, "ann", 2)
    state.note_report(ONE, told(ONE, 1, DeviceState.REJECTED, reason="other channels"), 3)
    done = state.rollout()
    assert done is not None
    assert done.state == "incomplete"
    assert [one.reason for one in done.verdict.failed] == ["other channels"]


def test_membership_is_frozen_when_it_begins(state: FleetState) -> None:
    state.note_report(ONE, told(ONE), 1)
    started = state.start_rollout(SHA_A, "ann", 2)
    state.note_report(TWO, told(TWO), 3)
    now = state.rollout(started.number)
    assert now is not None
    assert [one.at for one in now.standings] == [ONE]
    assert now.members_sha256 == started.members_sha256


def test_a_restored_coordinator_counts_on_from_what_the_gateway_knows(state: FleetState) -> None:
    state.note_report(ONE, told(ONE, 41, DeviceState.COMMITTED), 1)
    started = state.start_rollout(SHA_A, "ann", 2)
    assert [one.counter for one in started.standings] == [42]
    state.note_report(ONE, told(ONE, 3, DeviceState.COMMITTED), 3)
    again = state.start_rollout(SHA_B, "ann", 4)
    assert [one.counter for one in again.standings] == [43]


def test_a_commit_of_another_model_under_the_same_counter_completes_nothing(
    state: FleetState,
) -> None:
    """A coordinator restored from a backup may give a counter that a gateway knows already."""
    state.note_report(ONE, told(ONE), 1)
    state.start_rollout(SHA_B, "ann", 2)
    state.note_report(ONE, told(ONE, 1, DeviceState.COMMITTED, model=SHA_A), 3)
    now = state.rollout()
    assert now is not None
    assert [one.at for one in now.verdict.silent] == [ONE]
    state.note_report(ONE, told(ONE, 1, DeviceState.COMMITTED, model=SHA_B), 4)
    now = state.rollout()
    assert now is not None
    assert now.state == "complete"


def test_a_newer_rollout_supersedes_an_active_one(state: FleetState) -> None:
    state.note_report(ONE, told(ONE), 1)
    first = state.start_rollout(SHA_A, "ann", 2)
    state.start_rollout(SHA_B, "ann", 3)
    state.note_report(ONE, told(ONE, 1, DeviceState.COMMITTED), 4)
    old = state.rollout(first.number)
    assert old is not None
    assert old.state == "superseded"
    assert [d.desired.model.sha256 for d in state.directives()] == [SHA_B]


def test_a_report_about_a_directive_that_we_never_gave_changes_no_rollout(
    state: FleetState,
) -> None:
    state.note_report(ONE, told(ONE), 1)
    state.start_rollout(SHA_A, "ann", 2)
    state.note_report(ONE, told(ONE, 99, DeviceState.COMMITTED), 3)
    now = state.rollout()
    assert now is not None
    assert [one.at for one in now.verdict.silent] == [ONE]


def test_the_audit_trail_tells_who_did_what_and_cannot_be_changed(
    state: FleetState, tmp_path: Path
) -> None:
    state.note_report(ONE, told(ONE), 1)
    state.start_rollout(SHA_A, "bob", 2)
    state.note_report(ONE, told(ONE, 1, DeviceState.COMMITTED), 3)
    trail = [(entry.at_ns, entry.actor, entry.action) for entry in state.audit()]
    assert trail == [
        (1, "ann", "release published"),
        (2, "ann", "release published"),
        (1, "north/gw-1", "gateway appeared"),
        (2, "bob", "rollout started"),
        (2, "coordinator", "rollout: offered"),
        (3, "north/gw-1", "directive changed"),
        (3, "coordinator", "rollout: wave settled"),
        (3, "coordinator", "rollout: ended"),
    ]
    with contextlib.closing(sqlite3.connect(tmp_path / "fleet.db")) as raw:
        for change in ("DELETE FROM audit", "UPDATE audit SET actor = 'nobody'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(change)


def test_rollouts_that_begin_at_once_never_share_a_counter(
    state: FleetState, tmp_path: Path
) -> None:
    state.note_report(ONE, told(ONE), 1)

    def begin() -> None:
        with contextlib.closing(open_state(tmp_path)) as other:
            for _ in range(5):
                other.start_rollout(SHA_A, "ann", 2)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = state.rollout()
    assert newest is not None
    assert (newest.number, newest.standings[0].counter) == (20, 20)


def test_labels_select_who_is_in_it_and_a_preview_stores_nothing(state: FleetState) -> None:
    for at in (ONE, TWO):
        state.note_report(at, told(at), 1)
    state.set_labels(TWO, {"class": "pump", "hall": "3"}, "ann", 2)
    state.set_labels(TWO, {"hall": ""}, "ann", 2)
    assert [dict(one.labels) for one in state.devices()] == [{}, {"class": "pump"}]
    plan = Plan(select={"class": "pump", "site": "north"})
    assert [one.at for one in state.preview(plan).members] == [TWO]
    assert state.rollout() is None
    assert [one.at for one in state.start_rollout(SHA_A, "ann", 3, plan).standings] == [TWO]
    with pytest.raises(NoGatewayError, match="labels"):
        state.start_rollout(SHA_A, "ann", 3, Plan(select={"class": "fan"}))
    with pytest.raises(NoGatewayError, match="gw-9"):
        state.set_labels(Gateway("north", "gw-9"), {"a": "b"}, "ann", 3)


def test_a_rollback_is_a_new_directive_with_a_higher_counter(state: FleetState) -> None:
    state.note_report(ONE, told(ONE, model=SHA_A), 1)
    begun = state.start_rollout(SHA_B, "ann", 2)
    state.note_report(ONE, told(ONE, 1, DeviceState.COMMITTED, model=SHA_B), 3)
    back = state.command(begun.number, Command.ROLLBACK, "bob", 4, "worse on the night shift")
    assert back.state == "rolling_back"
    (directive,) = state.directives()
    assert (directive.desired.counter, directive.desired.model.sha256) == (2, SHA_A)
    state.note_report(ONE, told(ONE, 2, DeviceState.COMMITTED, model=SHA_A), 5)
    done = state.need_rollout(begun.number)
    assert (done.state, done.progress.reason) == ("rolled_back", "worse on the night shift")
    assert [one.number for one in state.history()] == [begun.number]


def test_a_state_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    open_state(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "fleet.db")) as raw:
        raw.executescript(FIRST_RELEASE.replace("SHA_A", SHA_A))
    with contextlib.closing(open_state(tmp_path)) as state:
        (device,) = state.devices()
        assert (device.problem, dict(device.labels)) == ("", {})
        known = state.need_rollout()
        assert (known.state, [one.counter for one in known.standings]) == ("active", [4])
        state.note_report(ONE, told(ONE, 4, DeviceState.COMMITTED, model=SHA_A), 9)
        assert state.need_rollout().state == "complete"


FIRST_RELEASE = """
DROP TABLE members; DROP TABLE devices; DROP TABLE rollouts; DROP TABLE directives;
DROP TABLE health; DROP TABLE halts;
CREATE TABLE devices (site TEXT, gateway TEXT, last_seen_ns INTEGER, state TEXT, counter INTEGER,
    reason TEXT, model TEXT, version TEXT, accounts TEXT, PRIMARY KEY (site, gateway));
CREATE TABLE rollouts (number INTEGER PRIMARY KEY, sha256 TEXT, state TEXT, members_sha256 TEXT,
    started_ns INTEGER);
CREATE TABLE directives (number INTEGER PRIMARY KEY, rollout INTEGER, site TEXT, gateway TEXT,
    counter INTEGER, sha256 TEXT, state TEXT, reason TEXT, changed_ns INTEGER);
INSERT INTO releases VALUES ('SHA_A', 10, 1024, 'pump', '1', 'a.onnx', 1);
INSERT INTO devices VALUES ('north', 'gw-1', 1, NULL, 3, '', NULL, '', '{}');
INSERT INTO rollouts VALUES (1, 'SHA_A', 'wave_1', 'x', 1);
INSERT INTO directives VALUES (1, 1, 'north', 'gw-1', 4, 'SHA_A', 'offered', '', 1);
PRAGMA user_version = 1;
"""


def test_it_is_all_there_after_opening_again(state: FleetState, tmp_path: Path) -> None:
    state.note_report(ONE, told(ONE), 1)
    state.start_rollout(SHA_A, "ann", 2)
    with contextlib.closing(open_state(tmp_path)) as again:
        assert again.rollout() == state.rollout()
        assert again.client_id() == state.client_id()
        assert again.client_id().startswith("foreshock-fleet-")


def test_a_newer_schema_or_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    open_state(tmp_path / "a").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "a" / "fleet.db")) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="schema 99"):
        open_state(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "fleet.db").write_text("not a database" * 100)
    with pytest.raises(StateError, match="cannot be opened"):
        open_state(tmp_path / "b")
