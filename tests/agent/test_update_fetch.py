from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.update.errors import FetchError
from foreshock_agent.update.fetch import Download, Pacing
from foreshock_agent.update.store import have_file
from foreshock_wire.updates import ModelRef

BLOCK = 1024
DATA = bytes(range(256)) * 43 + b"tail"


def ref_of(data: bytes = DATA, *, size: int | None = None) -> ModelRef:
    sha = hashlib.sha256(data).hexdigest()
    return ModelRef(sha256=sha, size=size or len(data), block_bytes=BLOCK, name="pump", version="1")


def block_of(index: int, data: bytes = DATA) -> bytes:
    return data[index * BLOCK : (index + 1) * BLOCK]


def finish(download: Download, ref: ModelRef, now_s: float = 0.0) -> list[int]:
    asked: list[int] = []
    while not download.complete:
        due = download.requests(now_s)
        assert due, "it neither asks nor is complete"
        for index in due:
            asked.append(index)
            download.take(ref.sha256, index, block_of(index))
    return asked


@given(seed=st.integers(0, 2**32))
def test_whatever_is_lost_repeated_or_reordered_the_file_is_whole(seed: int) -> None:
    ref, now_s, chance = ref_of(), 0.0, random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "x.part"
        with Download(ref, part, Pacing(window=4)) as download:
            for _ in range(20):
                asked = download.requests(now_s)
                for index in chance.choices(asked, k=chance.randint(0, 6)) if asked else []:
                    download.take(ref.sha256, index, block_of(index))
                now_s += 40.0
            finish(download, ref, now_s)
        assert part.read_bytes() == DATA


def test_it_asks_for_no_more_than_the_window(tmp_path: Path) -> None:
    with Download(ref_of(), tmp_path / "x.part", Pacing(window=3)) as download:
        assert download.requests(0.0) == [0, 1, 2]
        assert download.requests(0.0) == []
        download.take(ref_of().sha256, 2, block_of(2))
        assert download.requests(0.0) == [3]
        download.take(ref_of().sha256, 0, block_of(0))
        assert download.requests(0.0) == [4]


def test_an_unanswered_block_is_asked_for_later_and_later(tmp_path: Path) -> None:
    pacing = Pacing(window=1, first_s=2.0, longest_s=10.0)
    with Download(ref_of(), tmp_path / "x.part", pacing) as download:
        times, now_s = [], 0.0
        for _ in range(8):
            assert download.requests(now_s) == [0]
            times.append(download.wait_s(now_s))
            now_s += times[-1]
    assert 1.5 <= times[0] <= 2.5
    assert all(7.5 <= wait <= 12.5 for wait in times[3:])


def test_a_new_connection_asks_at_once_for_what_is_outstanding(tmp_path: Path) -> None:
    with Download(ref_of(), tmp_path / "x.part", Pacing(window=2)) as download:
        assert download.requests(0.0) == [0, 1]
        download.take(ref_of().sha256, 1, block_of(1))
        download.hurry()
        assert download.requests(0.1) == [0, 2]


def test_it_resumes_with_exactly_the_blocks_that_are_missing(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    with Download(ref_of(), part, Pacing()) as download:
        download.requests(0.0)
        for index in (6, 0, 3):
            download.take(ref_of().sha256, index, block_of(index))
    with Download(ref_of(), part, Pacing()) as download:
        assert download.resumed == 3
        assert download.received_bytes == 3 * BLOCK
        assert finish(download, ref_of()) == [1, 2, 4, 5, 7, 8, 9, 10]
    assert part.read_bytes() == DATA


@given(kills=st.lists(st.integers(0, 6), max_size=8), seed=st.integers(0, 2**32))
def test_no_block_comes_twice_however_often_it_is_killed(kills: list[int], seed: int) -> None:
    """A kill leaves what the kernel has: here each `with` block is a life of the process."""
    ref, came, chance = ref_of(), [], random.Random(seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "x.part"
        for lived in kills:
            with Download(ref, part, Pacing(window=4)) as download:
                for index in chance.sample(due := download.requests(0.0), min(lived, len(due))):
                    download.take(ref.sha256, index, block_of(index))
                    came.append(index)
        with Download(ref, part, Pacing(window=4)) as download:
            came += finish(download, ref)
        assert sorted(came) == list(range(11))
        assert part.read_bytes() == DATA


def test_a_complete_part_is_not_fetched_again(tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    with Download(ref_of(), part, Pacing(window=99)) as download:
        finish(download, ref_of())
    with Download(ref_of(), part, Pacing()) as download:
        assert download.complete
    assert part.read_bytes() == DATA


@pytest.mark.parametrize("marks", [b"", b"junk", b"11012 512\n" + bytes(11), b"11012 1024\n\1"])
def test_marks_that_do_not_fit_are_worth_nothing(tmp_path: Path, marks: bytes) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(bytes(len(DATA)))
    have_file(part).write_bytes(marks)
    with Download(ref_of(), part, Pacing()) as download:
        assert download.resumed == 0
        finish(download, ref_of())
    assert part.read_bytes() == DATA


def test_blocks_of_the_wrong_size_are_refused_after_some_patience(tmp_path: Path) -> None:
    with Download(ref_of(), tmp_path / "x.part", Pacing(wrong_sizes=3)) as download:
        download.requests(0.0)
        download.take(ref_of().sha256, 0, b"short")
        download.take(ref_of().sha256, 0, block_of(0) + b"long")
        with pytest.raises(FetchError, match=r"block 0 .* has 5 bytes, promised were 1024"):
            download.take(ref_of().sha256, 0, b"short")


def test_a_file_longer_than_promised_is_refused(tmp_path: Path) -> None:
    ref = ref_of(size=BLOCK + 10)
    with Download(ref, tmp_path / "x.part", Pacing(wrong_sizes=1)) as download:
        download.requests(0.0)
        download.take(ref.sha256, 0, block_of(0))
        with pytest.raises(FetchError, match="promised were 10"):
            download.take(ref.sha256, 1, block_of(1))


def test_the_fleet_can_say_that_there_is_no_such_block(tmp_path: Path) -> None:
    with Download(ref_of(), tmp_path / "x.part", Pacing()) as download:
        download.requests(0.0)
        with pytest.raises(FetchError, match="does not have block 0"):
            download.take(ref_of().sha256, 0, b"")


@pytest.mark.parametrize("index", [-1, 8, 10_000])
def test_a_block_that_nobody_asked_for_is_nothing(tmp_path: Path, index: int) -> None:
    with Download(ref_of(), tmp_path / "x.part", Pacing(window=8)) as download:
        download.take(ref_of().sha256, index, b"")
        download.take("f" * 64, 0, b"")
        assert finish(download, ref_of()) == list(range(11))
