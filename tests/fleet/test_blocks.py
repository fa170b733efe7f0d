from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_fleet.blocks import NO_SUCH_BLOCK, BlockService
from foreshock_fleet.errors import UnknownBlockError, UnknownReleaseError
from foreshock_fleet.repository import Repository
from foreshock_wire import topics
from foreshock_wire.updates import BlockRequest

if TYPE_CHECKING:
    from pathlib import Path

AT = topics.Gateway("north", "gw-1")
DATA = bytes(range(256)) * 9 + b"tail"
SHA = hashlib.sha256(DATA).hexdigest()


@given(block_bytes=st.integers(1, 4000))
def test_the_blocks_of_a_file_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, block_bytes: int
) -> None:
    repository = Repository(tmp_path_factory.getbasetemp() / "models")
    repository.add(DATA)
    count = -(-len(DATA) // block_bytes)
    blocks = [repository.block(SHA, index, block_bytes) for index in range(count)]
    assert b"".join(blocks) == DATA
    assert all(len(block) == block_bytes for block in blocks[:-1])
    with pytest.raises(UnknownBlockError, match=f"no block {count}"):
        repository.block(SHA, count, block_bytes)


def test_adding_leaves_one_file_named_by_its_hash(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "models")
    assert repository.add(DATA) == repository.add(DATA) == SHA
    assert [path.name for path in repository.targets.iterdir()] == [f"{SHA}.onnx"]
    assert repository.path(SHA).read_bytes() == DATA


@pytest.mark.parametrize("index", [99, 2**62, 2**63 - 1])
def test_a_block_that_does_not_exist_is_answered_as_such(tmp_path: Path, index: int) -> None:
    repository = Repository(tmp_path)
    repository.add(DATA)
    service = BlockService(repository, lambda _: 1024)
    request = BlockRequest(sha256=SHA, index=index)
    assert service.answer(AT, request) == (topics.block(AT, SHA, index), NO_SUCH_BLOCK)


def test_a_file_that_was_never_published_is_answered_as_such(tmp_path: Path) -> None:
    def unknown(_: str) -> int:
        raise UnknownReleaseError("no release")

    answer = BlockService(Repository(tmp_path), unknown).answer(
        AT, BlockRequest(sha256=SHA, index=0)
    )
    assert answer == (topics.block(AT, SHA, 0), NO_SUCH_BLOCK)


def test_what_waits_for_the_network_is_bounded(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.add(DATA)
    service = BlockService(repository, lambda _: 1024, budget_bytes=2048)
    gone = False
    for index in (0, 1):
        answer = service.answer(AT, BlockRequest(sha256=SHA, index=index))
        assert answer is not None
        service.sending(lambda: gone, len(answer[1]))
    assert service.answer(AT, BlockRequest(sha256=SHA, index=2)) is None
    assert service.postponed_blocks == 1
    gone = True
    assert service.answer(AT, BlockRequest(sha256=SHA, index=2)) is not None
    gone = False
    service.sending(lambda: gone, 4096)
    service.connection_lost()
    assert service.answer(AT, BlockRequest(sha256=SHA, index=1)) is not None
