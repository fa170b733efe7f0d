"""The attacks of the TUF specification (section 1.5.2) and ours, against the real client.

The attacker owns the broker: he reads, changes, replays and withholds whatever passes. After each
attack the gateway runs what it ran, has fetched nothing that it should not, and tells why. Models
are junk here and refused by their size where no attack stopped them before: that is `passes`.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api.metadata import Metadata, Root, Timestamp

from foreshock_converter.sample import tiny_model
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.repository import Repository
from foreshock_wire import topics
from foreshock_wire.updates import DeviceState, Envelope
from tests.agent.centre import AT, BLOCK, TODAY, Centre, Rig, Signing, sha_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GOOD, EVIL = b"the good model's bytes" * 2000, b"the evil model's bytes" * 2000
PICKY = 10
MONTH = timedelta(days=31)
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2099 = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    one = Signing(tmp_path / "fleet")
    one.release(GOOD)
    return one


@pytest.fixture
def rig(tmp_path: Path, signing: Signing) -> Iterator[Rig]:
    one = Rig(tmp_path / "gateway", Centre(signing))
    one.restart(max_bytes=PICKY)
    yield one
    one.stop()


def passes(rig: Rig, directive: Envelope, counter: int) -> None:
    """Let a directive come, and see that it was verified and admitted."""
    rig.want(directive)
    assert f"takes at most {PICKY}" in rig.centre.end_of(counter).reason


def nothing_happened(rig: Rig, counter: int | None = None) -> None:
    """No model was fetched or swapped, and no later directive than `counter` was admitted."""
    outcome = rig.store.last_outcome()
    assert (rig.swapped, rig.centre.asked) == ([], [])
    assert (outcome.counter if outcome else None) == counter
    assert not list(rig.folder.glob("*.onnx"))


def copied(repository: Repository, to: Path) -> Repository:
    """Keep the repository as it is now: what an attacker recorded."""
    shutil.copytree(repository.directory, to)
    return Repository(to)


def instead_of(rig: Rig, name: str, answer: Callable[[int, bytes], bytes | None]) -> None:
    """Let the attacker answer for one metadata file."""
    rig.centre.tamper_file = lambda asked, index, block: (
        answer(index, block) if asked.endswith(name) else block
    )


# Arbitrary software -----------------------------------------------------------------------------


def test_a_repository_of_the_attackers_own(rig: Rig, tmp_path: Path) -> None:
    his = Signing(tmp_path / "attacker")
    his.release(EVIL)
    rig.centre.repository = his.repository
    rig.want(his.directive(EVIL))
    rig.centre.problem("the repository does not verify")
    nothing_happened(rig)


def test_a_file_that_was_never_released(rig: Rig, signing: Signing) -> None:
    signing.repository.add(EVIL)
    rig.want(signing.directive(EVIL))
    assert "is not a signed release" in rig.centre.end_of(1).reason
    nothing_happened(rig, counter=1)


def test_a_gateway_without_a_root_of_trust_follows_nobody(rig: Rig, signing: Signing) -> None:
    signing.root.unlink()
    rig.want(signing.directive(GOOD))
    rig.centre.problem("has no root of trust")
    nothing_happened(rig)


# Wrong keys -------------------------------------------------------------------------------------


def test_a_directive_by_somebody_elses_key(rig: Rig, tmp_path: Path) -> None:
    rig.want(Signing(tmp_path / "attacker").directive(GOOD))
    rig.centre.problem("0 of 1 signatures verify")
    nothing_happened(rig)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_another_roles_key_signs_no_directive(rig: Rig, signing: Signing, role: str) -> None:
    genuine = signing.directive(GOOD)
    (signer,) = signing.keys.signers(signing.signed.status(role).keyids)
    made = signer.sign(genuine.payload.encode())
    forged = genuine.signatures[0].model_copy(update={"keyid": made.keyid, "sig": made.signature})
    rig.want(genuine.model_copy(update={"signatures": (forged,)}))
    rig.centre.problem("0 of 1 signatures verify")
    nothing_happened(rig)


def test_a_changed_directive_keeps_no_signature(rig: Rig, signing: Signing) -> None:
    genuine = signing.directive(GOOD, 1)
    changed = genuine.payload.replace('"counter":1', '"counter":9')
    assert changed != genuine.payload
    rig.want(genuine.model_copy(update={"payload": changed}))
    rig.centre.problem("0 of 1 signatures verify")
    nothing_happened(rig)


def test_root_keys_under_the_threshold_make_no_signer(
    rig: Rig, signing: Signing, tmp_path: Path
) -> None:
    """One stolen key of three where two must sign: his new root is refused."""
    thief, *_ = signing.root_keys.signers(signing.signed.status("root").keyids)
    his = KeyFolder(tmp_path / "attacker").create("targets")
    root: Metadata[Root] = Metadata.from_bytes(signing.signed.root_bytes())
    root.signed.version += 1
    root.signed.add_key(his.public_key, "targets")
    root.signatures.clear()
    root.sign(thief)
    signing.repository.write_metadata("2.root.json", root.to_bytes())
    rig.want(signing.directive(GOOD))
    rig.centre.problem("the repository does not verify")
    nothing_happened(rig)


def test_a_key_that_was_rotated_away_signs_nothing_any_more(rig: Rig, signing: Signing) -> None:
    stolen = signing.directive(GOOD, 2)
    passes(rig, signing.directive(GOOD, 1), 1)
    signing.signed.rotate("directive", None, signing.keys, TODAY)
    passes(rig, signing.directive(GOOD, 3), 3)
    rig.want(stolen)
    rig.centre.problem("0 of 1 signatures verify")
    nothing_happened(rig, counter=3)


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp", "directive"])
def test_a_gateway_follows_a_rotation_by_itself(rig: Rig, signing: Signing, role: str) -> None:
    passes(rig, signing.directive(GOOD, 1), 1)
    signing.signed.rotate(role, signing.root_keys, signing.keys, TODAY)
    passes(rig, signing.directive(GOOD, 2), 2)


# Rollback, fast-forward, freeze, mix-and-match, endless data ------------------------------------


def test_rollback_to_an_older_state_of_the_repository(
    rig: Rig, signing: Signing, tmp_path: Path
) -> None:
    older = copied(signing.repository, tmp_path / "recorded")
    signing.release(EVIL)
    passes(rig, signing.directive(GOOD, 1), 1)
    rig.centre.repository = older
    rig.restart(max_bytes=PICKY)
    rig.want(signing.directive(GOOD, 2))
    rig.centre.problem("the repository does not verify")
    nothing_happened(rig, counter=1)


def test_fast_forward_is_undone_by_a_rotation(rig: Rig, signing: Signing) -> None:
    """A stolen timestamp key makes the highest version there is; new keys make it worthless."""
    (thief,) = signing.keys.signers(signing.signed.status("timestamp").keyids)
    path = signing.repository.metadata / "timestamp.json"
    honest = path.read_bytes()
    forged: Metadata[Timestamp] = Metadata.from_bytes(honest)
    forged.signed.version = 2**31 - 1
    forged.sign(thief)
    path.write_bytes(forged.to_bytes())
    passes(rig, signing.directive(GOOD, 1), 1)
    path.write_bytes(honest)
    rig.want(signing.directive(GOOD, 2))
    rig.centre.problem("the repository does not verify")
    signing.signed.rotate("timestamp", signing.root_keys, signing.keys, TODAY)
    passes(rig, signing.directive(GOOD, 3), 3)


def test_freeze_what_is_never_signed_anew_is_not_followed(rig: Rig, signing: Signing) -> None:
    rig.now = signing.now = TODAY + timedelta(days=8)
    directive = signing.directive(GOOD)
    rig.want(directive)
    deferred = rig.centre.state_of(1, DeviceState.DEFERRED)
    assert "the timestamp metadata expired at 2026-11-27T12:00:00Z" in deferred.reason
    nothing_happened(rig, counter=1)
    signing.signed.renew(signing.keys, signing.now)
    passes(rig, directive, 1)


def test_freeze_a_directive_that_was_withheld_for_a_month(rig: Rig, signing: Signing) -> None:
    withheld = signing.directive(GOOD)
    rig.now = signing.now = TODAY + MONTH
    signing.signed.renew(signing.keys, signing.now)
    rig.want(withheld)
    deferred = rig.centre.state_of(1, DeviceState.DEFERRED)
    assert "the directive expired at" in deferred.reason
    nothing_happened(rig, counter=1)


@pytest.mark.parametrize("name", ["snapshot.json", "targets.json"])
def test_mix_and_match_of_files_that_were_all_signed(
    rig: Rig, signing: Signing, tmp_path: Path, name: str
) -> None:
    older = copied(signing.repository, tmp_path / "recorded")
    old = max(older.metadata.glob(f"*.{name}")).read_bytes()
    signing.release(EVIL)
    instead_of(rig, name, lambda _, __: old)
    rig.want(signing.directive(GOOD))
    rig.centre.problem("the repository does not verify")
    nothing_happened(rig)


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"])
def test_endless_data_is_cut_off(rig: Rig, signing: Signing, name: str) -> None:
    instead_of(rig, name, lambda _, __: b" " * 65_536)
    rig.want(signing.directive(GOOD))
    rig.centre.problem("exceeding the maximum allowed length")
    assert len(rig.centre.files) < 20
    nothing_happened(rig)


def test_a_block_of_metadata_larger_than_one_was_asked_for(rig: Rig, signing: Signing) -> None:
    instead_of(rig, "timestamp.json", lambda _, block: block + b" " * 65_536)
    rig.want(signing.directive(GOOD))
    rig.centre.problem("a block of metadata has")
    nothing_happened(rig)


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 100, b"[" * 60_000, b'{"signed":{}}'])
def test_metadata_that_is_damaged_or_absent(
    rig: Rig, signing: Signing, name: str, damage: bytes
) -> None:
    instead_of(rig, name, lambda _, __: damage)
    rig.want(signing.directive(GOOD))
    rig.centre.problem("the repository does not verify")
    nothing_happened(rig)


def test_a_bug_that_an_attacker_found_ends_no_thread(rig: Rig, signing: Signing) -> None:
    def broken(_: int, __: bytes) -> bytes:
        raise ZeroDivisionError

    rig.trust.refresh, real = broken, rig.trust.refresh  # type: ignore[method-assign,assignment]
    rig.want(signing.directive(GOOD))
    rig.centre.problem("unexpected: ")
    rig.trust.refresh = real  # type: ignore[method-assign]
    passes(rig, signing.directive(GOOD), 1)


# Time -------------------------------------------------------------------------------------------


def test_expired_metadata_at_1970_is_not_followed(rig: Rig, signing: Signing) -> None:
    recorded = signing.directive(GOOD)
    rig.now = YEAR_1970
    rig.want(recorded)
    assert "it waits for the time" in rig.centre.state_of(1, DeviceState.DEFERRED).reason
    nothing_happened(rig, counter=1)


def test_what_expired_before_a_signed_time_is_refused_whatever_the_clock_says(
    rig: Rig, signing: Signing, tmp_path: Path
) -> None:
    recorded = copied(signing.repository, tmp_path / "recorded")
    older = signing.directive(GOOD, 2)
    rig.now = signing.now = TODAY + MONTH
    signing.signed.renew(signing.keys, signing.now)
    passes(rig, signing.directive(GOOD, 1), 1)
    rig.centre.repository, rig.now = recorded, TODAY
    shutil.rmtree(rig.folder.parent / "metadata")
    rig.want(older)
    assert "expired" in rig.centre.problem("the repository does not verify").problem
    nothing_happened(rig, counter=1)


def test_a_clock_set_back_behind_a_signed_time_defers(rig: Rig, signing: Signing) -> None:
    passes(rig, signing.directive(GOOD, 1), 1)
    rig.now = TODAY - timedelta(hours=1)
    rig.want(signing.directive(GOOD, 2))
    assert "set the clock" in rig.centre.state_of(2, DeviceState.DEFERRED).reason


def test_a_clock_at_2099_bricks_nothing(tmp_path: Path) -> None:
    signing, model = Signing(tmp_path / "fleet"), tiny_model(seed=1)
    signing.release(model)
    rig = Rig(tmp_path / "gateway", Centre(signing))
    try:
        rig.now = YEAR_2099
        rig.want(signing.directive(model))
        assert "the clock is ahead" in rig.centre.state_of(1, DeviceState.DEFERRED).reason
        assert rig.store.floor_ns == 0
        rig.now = TODAY
        rig.want(signing.directive(model))
        assert rig.centre.end_of(1).state is DeviceState.COMMITTED
        # Expiry gates acceptance only: what was committed runs however long nobody signs.
        rig.now = YEAR_2099
        rig.restart()
        current = rig.store.current()
        assert current is not None
        assert current.name == f"{sha_of(model)}.onnx"
    finally:
        rig.stop()


# Directives -------------------------------------------------------------------------------------


def test_an_older_target_that_is_still_listed(rig: Rig, signing: Signing) -> None:
    """Valid metadata, valid signatures, an old model: the counter refuses it."""
    signing.release(EVIL)
    older = signing.directive(GOOD, 1)
    passes(rig, signing.directive(EVIL, 2), 2)
    told = len(rig.centre.reports)
    rig.want(older)
    rig.centre.wait_for(lambda _: len(rig.centre.reports) > told)
    outcome = rig.store.last_outcome()
    assert outcome is not None
    assert (outcome.counter, outcome.sha256) == (2, sha_of(EVIL))


def test_a_replayed_directive_even_after_a_restart(rig: Rig, signing: Signing) -> None:
    recorded = signing.directive(GOOD, 4)
    passes(rig, recorded, 4)
    rig.restart(max_bytes=1 << 20)
    told = len(rig.centre.reports)
    rig.want(recorded)
    rig.centre.wait_for(lambda _: len(rig.centre.reports) > told)
    assert rig.centre.reports[-1].state is DeviceState.REJECTED
    nothing_happened(rig, counter=4)


@pytest.mark.parametrize("other", [("north", "gw-2"), ("south", "gw-1")])
def test_a_directive_for_another_gateway(
    rig: Rig, signing: Signing, other: tuple[str, str]
) -> None:
    rig.want(signing.directive(GOOD, 9, at=topics.Gateway(*other)))
    rig.centre.problem(f"the directive is for {other[0]}/{other[1]}")
    nothing_happened(rig)
    passes(rig, signing.directive(GOOD, 1, at=AT), 1)


# Blocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rogue", "reason"),
    [
        (lambda _, block: EVIL[: len(block)], "tampered with"),
        (lambda *_: b"", "does not have block"),
        (lambda index, block: block[:100] if index == 1 else block, "has 100 bytes"),
        (lambda index, block: GOOD[BLOCK : 2 * BLOCK] if index == 0 else block, "tampered with"),
        (lambda _, block: block + b"more", "promised were"),
    ],
    ids=["other-bytes", "nothing", "truncated", "swapped", "too-long"],
)
def test_a_rogue_block_server(
    rig: Rig, signing: Signing, rogue: Callable[[int, bytes], bytes], reason: str
) -> None:
    rig.restart(max_bytes=1 << 20)
    rig.centre.tamper = rogue
    rig.want(signing.directive(GOOD))
    last = rig.centre.end_of(1)
    assert last.state is DeviceState.REJECTED
    assert reason in last.reason
    assert rig.swapped == []
    assert not list(rig.folder.glob("*.onnx"))
