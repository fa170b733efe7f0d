"""Keys and signed metadata: who may sign, what expires when, and what a kill leaves behind."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from tuf.api.metadata import Metadata, Root

from foreshock_fleet.cli import cli
from foreshock_fleet.errors import FleetError, KeyFileError, MissingKeyError, RepositoryError
from foreshock_fleet.keys import KeyFolder, read_passphrase
from foreshock_fleet.repository import Repository
from foreshock_fleet.signed import ROLES, VALID_D, SignedRepository
from foreshock_fleet.state import open_state

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SHA = "a" * 64


class Signing:
    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        self.repository = Repository(folder / "repository")
        self.signed = SignedRepository(self.repository)
        self.root_keys = KeyFolder(folder / "root-keys", passphrase)
        self.keys = KeyFolder(folder / "keys", passphrase)
        self.signed.create(self.root_keys, self.keys, count=3, threshold=2, now=NOW)

    def versions(self) -> dict[str, int | None]:
        return {one.role: one.version for one in self.signed.statuses()}

    def root(self) -> Metadata[Root]:
        return Metadata.from_bytes(self.signed.root_bytes())


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    return Signing(tmp_path)


def test_a_set_up_has_every_role_and_keys_that_only_their_owner_reads(signing: Signing) -> None:
    statuses = {one.role: one for one in signing.signed.statuses()}
    assert tuple(statuses) == ROLES
    assert (len(statuses["root"].keyids), statuses["root"].threshold) == (3, 2)
    keyids = [keyid for one in statuses.values() for keyid in one.keyids]
    assert len(set(keyids)) == len(keyids)
    for folder in (signing.keys, signing.root_keys):
        assert stat.S_IMODE(folder.directory.stat().st_mode) == 0o700
        for path in folder.directory.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(
        one.expires == NOW + timedelta(days=VALID_D[role])
        for role, one in statuses.items()
        if one.version
    )


def test_the_root_is_signed_by_its_threshold(signing: Signing) -> None:
    root = signing.root()
    root.verify_delegate("root", root)


def test_a_second_set_up_is_refused(signing: Signing) -> None:
    with pytest.raises(RepositoryError, match="set up already"):
        signing.signed.create(signing.root_keys, signing.keys, count=1, threshold=1, now=NOW)


def test_without_a_set_up_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="keys init"):
        SignedRepository(Repository(tmp_path)).statuses()


def test_a_passphrase_locks_every_key_and_is_in_no_message(tmp_path: Path) -> None:
    signing = Signing(tmp_path, b"correct horse")
    keyids = signing.signed.status("timestamp").keyids
    assert signing.keys.signers(keyids)
    for passphrase in (None, b"wrong horse"):
        with pytest.raises(KeyFileError) as refused:
            KeyFolder(signing.keys.directory, passphrase).signers(keyids)
        assert "horse" not in str(refused.value)
    with pytest.raises(KeyFileError, match="have a passphrase"):
        KeyFolder(signing.keys.directory).create("timestamp")


def test_a_key_that_others_can_read_is_refused(signing: Signing) -> None:
    for path in signing.keys.directory.iterdir():
        path.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        signing.signed.add_target(SHA, 1, {}, signing.keys, NOW)


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), ("\n", 0o600), ("secret", 0o644)])
def test_a_passphrase_file_that_is_empty_or_open_is_refused(
    tmp_path: Path, content: str, mode: int
) -> None:
    path = tmp_path / "passphrase"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="passphrase file"):
        read_passphrase(path)


def test_a_role_whose_keys_are_elsewhere_is_named(signing: Signing, tmp_path: Path) -> None:
    with pytest.raises(MissingKeyError, match="targets needs 1 of the keys"):
        signing.signed.add_target(SHA, 1, {}, KeyFolder(tmp_path / "empty"), NOW)
    with pytest.raises(MissingKeyError, match="root needs 2 of the keys"):
        signing.signed.renew_root(KeyFolder(tmp_path / "empty"), NOW)


def test_what_is_half_used_up_is_signed_anew_and_nothing_else(signing: Signing) -> None:
    assert signing.signed.renew(signing.keys, NOW + timedelta(days=3)) == []
    assert signing.signed.renew(signing.keys, NOW + timedelta(days=4)) == ["timestamp"]
    assert signing.signed.renew(signing.keys, NOW + timedelta(days=4)) == []
    later = NOW + timedelta(days=16)
    assert signing.signed.renew(signing.keys, later) == ["snapshot", "timestamp"]
    assert signing.signed.status("timestamp").expires == later + timedelta(days=7)
    assert signing.versions() == {
        "root": 1,
        "targets": 1,
        "snapshot": 2,
        "timestamp": 3,
        "directive": None,
    }


def test_a_coordinator_without_the_targets_key_renews_the_rest(signing: Signing) -> None:
    signing.keys.remove(signing.signed.status("targets").keyids[0])
    later = NOW + timedelta(days=200)
    assert signing.signed.renew(signing.keys, later) == ["snapshot", "timestamp"]
    assert signing.signed.status("timestamp").expires == later + timedelta(days=7)


@pytest.mark.parametrize("role", ROLES)
def test_a_rotation_ends_the_old_keys(signing: Signing, role: str) -> None:
    before = signing.signed.status(role)
    old = signing.signed.rotate(role, signing.root_keys, signing.keys, NOW)
    after = signing.signed.status(role)
    assert old == before.keyids
    assert not set(after.keyids) & set(before.keyids)
    assert (len(after.keyids), after.threshold) == (len(before.keyids), before.threshold)
    assert signing.signed.renew(signing.keys, NOW) == []


def test_one_root_key_of_three_can_be_replaced(signing: Signing) -> None:
    first, *others = signing.signed.status("root").keyids
    signing.signed.rotate("root", signing.root_keys, signing.keys, NOW, first[:12])
    after = signing.signed.status("root").keyids
    assert first not in after
    assert set(others) < set(after)


@pytest.mark.parametrize(
    ("role", "key"), [("nobody", None), ("root", "ffff"), ("root", ""), ("mirrors", None)]
)
def test_a_rotation_of_nobody_is_refused(signing: Signing, role: str, key: str | None) -> None:
    with pytest.raises(FleetError):
        signing.signed.rotate(role, signing.root_keys, signing.keys, NOW, key)
    assert signing.versions()["root"] == 1


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_rotation_that_was_killed_half_way_is_finished_by_a_renewal(
    signing: Signing, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    class Killed(BaseException):
        pass

    written: list[str] = []
    real = Repository.write_metadata

    def killed_after_the_root(self: Repository, name: str, data: bytes) -> None:
        if written:
            raise Killed
        written.append(name)
        real(self, name, data)

    monkeypatch.setattr(Repository, "write_metadata", killed_after_the_root)
    with pytest.raises(Killed):
        signing.signed.rotate(role, signing.root_keys, signing.keys, NOW)
    monkeypatch.undo()
    assert written == ["2.root.json"]
    assert role in signing.signed.renew(signing.keys, NOW)
    assert signing.signed.renew(signing.keys, NOW) == []


def test_a_release_is_listed_until_it_is_withdrawn(signing: Signing) -> None:
    signing.signed.add_target(SHA, 10, {"name": "pump"}, signing.keys, NOW)
    assert signing.signed.lists(SHA)
    signing.signed.withdraw(SHA, signing.keys, NOW)
    assert not signing.signed.lists(SHA)
    with pytest.raises(RepositoryError, match="not a signed release"):
        signing.signed.withdraw(SHA, signing.keys, NOW)


# The commands -----------------------------------------------------------------------------------


def keys(folder: Path, *arguments: str) -> Result:
    command = ["keys", *arguments, "--state", str(folder / "fleet")]
    return CliRunner().invoke(cli, command)


def test_the_commands_make_list_rotate_and_renew(tmp_path: Path) -> None:
    root = ("--root-keys", str(tmp_path / "safe"))
    assert keys(tmp_path, "init", *root, "--no-passphrase").exit_code == 0
    first = (tmp_path / "fleet" / "root.json").read_bytes()
    assert b'"version":1}' in first
    for step in (["rotate", "timestamp"], ["rotate", "root"], ["renew"]):
        done = keys(tmp_path, *step, *root)
        assert done.exit_code == 0, done.output
    assert b'"version":4}' in (tmp_path / "fleet" / "root.json").read_bytes()
    listed = keys(tmp_path, "list").output
    assert "root       2 of 3 keys   version 4" in listed
    assert listed.count("not here") == 3
    assert len(list((tmp_path / "fleet" / "keys").iterdir())) == 4
    trail = open_state(tmp_path / "fleet")
    assert [one.action for one in trail.audit()] == [
        "keys made",
        "keys rotated",
        "keys rotated",
        "metadata renewed",
    ]
    trail.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--root-keys"),
        (["--root-keys", "safe"], "--no-passphrase"),
        (["--root-keys", "safe", "--no-passphrase", "--root-threshold", "4"], "can never sign"),
    ],
)
def test_a_set_up_has_no_defaults_for_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = keys(tmp_path, "init", *arguments)
    assert told in str(done.exception)
    assert not (tmp_path / "fleet").exists()
