from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from foreshock_agent.update.errors import StoreError
from foreshock_agent.update.store import ModelStore, Outcome, have_file
from foreshock_wire.updates import DeviceState

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = b"the old model", b"the new model"
NEW_SHA = hashlib.sha256(NEW).hexdigest()


def put(store: ModelStore, data: bytes) -> str:
    sha = hashlib.sha256(data).hexdigest()
    store.part(sha).write_bytes(data)
    assert store.take_in(store.part(sha), sha)
    return sha


def commit(store: ModelStore, counter: int, data: bytes) -> str:
    sha = put(store, data)
    store.record(Outcome(counter, DeviceState.COMMITTED, sha))
    return sha


def test_a_new_store_has_no_model_and_no_history(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    assert (store.current(), store.last_outcome(), store.handled()) == (None, None, 0)


def test_what_was_recorded_is_there_after_a_restart(tmp_path: Path) -> None:
    commit(ModelStore(tmp_path), 1, OLD)
    refused = Outcome(2, DeviceState.REJECTED, NEW_SHA, "not for us")
    ModelStore(tmp_path).record(refused)
    store = ModelStore(tmp_path)
    current = store.current()
    assert current is not None
    assert current.read_bytes() == OLD
    assert store.last_outcome() == refused
    assert store.handled() == 2


def test_a_directive_in_progress_is_not_handled(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    commit(store, 1, OLD)
    store.record(Outcome(2, DeviceState.SELF_TEST, NEW_SHA))
    assert ModelStore(tmp_path).handled() == 1
    assert ModelStore(tmp_path).last_outcome() == Outcome(2, DeviceState.SELF_TEST, NEW_SHA)


def test_a_file_of_another_hash_is_not_taken_in(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    part = store.part(NEW_SHA)
    part.write_bytes(OLD)
    have_file(part).write_bytes(b"marks")
    assert store.take_in(part, NEW_SHA) is False
    assert list(tmp_path.iterdir()) == []


def test_the_floor_only_grows_and_survives_a_restart(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert store.floor_ns == 0
    store.raise_floor(20)
    store.raise_floor(10)
    commit(store, 1, OLD)
    assert ModelStore(tmp_path).floor_ns == 20


def test_a_state_file_from_before_there_was_a_floor_is_read(tmp_path: Path) -> None:
    commit(ModelStore(tmp_path), 1, OLD)
    state = json.loads((tmp_path / "state.json").read_text())
    del state["floor_ns"]
    (tmp_path / "state.json").write_text(json.dumps(state))
    store = ModelStore(tmp_path)
    assert (store.floor_ns, store.handled()) == (0, 1)


def test_a_damaged_model_gives_way_to_the_one_before_it(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    commit(store, 1, OLD)
    sha = commit(store, 2, NEW)
    store.path(sha).write_bytes(b"the new mode1")
    current = ModelStore(tmp_path).current()
    assert current is not None
    assert current.read_bytes() == OLD
    assert ModelStore(tmp_path).current_sha256 == hashlib.sha256(OLD).hexdigest()
    assert (tmp_path / f"{sha}.damaged").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"v": 1}', b"\xff\x00", b"null"])
def test_a_damaged_state_file_is_set_aside(tmp_path: Path, damage: bytes) -> None:
    commit(ModelStore(tmp_path), 7, OLD)
    (tmp_path / "state.json").write_bytes(damage)
    assert ModelStore(tmp_path).current() is None
    assert (tmp_path / "state.damaged").read_bytes() == damage


def test_a_disk_that_refuses_changes_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    commit(store, 1, OLD)
    (tmp_path / "state.json.temp").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        commit(store, 2, NEW)
    assert store.handled() == 1
    assert store.current_sha256 == hashlib.sha256(OLD).hexdigest()


def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be opened"):
        ModelStore(tmp_path / "file" / "models")


def test_it_keeps_the_model_and_the_one_before_it(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    kept = [commit(store, n, f"model {n}".encode()) for n in range(1, 5)][-2:]
    store.part("ab" * 32).write_bytes(b"half")
    store.prune()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [*(f"{sha}.onnx" for sha in kept), "state.json"]
    )


def test_a_model_that_came_with_the_installation_is_current(tmp_path: Path) -> None:
    sha = ModelStore(tmp_path).install(OLD)
    current = ModelStore(tmp_path).current()
    assert current == tmp_path / f"{sha}.onnx"
    assert ModelStore(tmp_path).handled() == 0


COMMITTER: Final = """
import sys
from pathlib import Path
from foreshock_agent.update.store import ModelStore, Outcome, file_sha256
from foreshock_wire.updates import DeviceState
import hashlib
store = ModelStore(Path(sys.argv[1]))
while True:
    counter = store.handled() + 1
    data = f"model {counter}".encode() * 1000
    sha = hashlib.sha256(data).hexdigest()
    store.part(sha).write_bytes(data)
    assert store.take_in(store.part(sha), sha)
    store.record(Outcome(counter, DeviceState.SELF_TEST, sha))
    store.record(Outcome(counter, DeviceState.COMMITTED, sha))
    store.prune()
    print(counter, flush=True)
"""


def test_kill_nine_at_any_moment_leaves_a_whole_store(tmp_path: Path) -> None:
    told = 0
    for read_lines in (1, 2, 5, 13):
        with subprocess.Popen(
            [sys.executable, "-c", COMMITTER, str(tmp_path)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            for _ in range(read_lines):
                told = int(child.stdout.readline())
            child.kill()
            # What was printed between our last look and the kill was committed too.
            told = int((child.stdout.read().split() or [b"%d" % told])[-1])
        store = ModelStore(tmp_path)
        current = store.current()
        assert store.handled() in {told, told + 1}
        assert current is not None
        assert current.read_bytes() == f"model {store.handled()}".encode() * 1000
