"""Downloads from a real HTTP server: whole, cut short, gone on, altered, absent."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from foreshock_trainer.datasets.base import DataError, DataFile, DataSet
from foreshock_trainer.datasets.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = {
    "train.txt": b"".join(b"%d 0.25\n" % i for i in range(40_000)),
    "test.txt": b"".join(b"%d 0.5\n" % i for i in range(20_000)),
}


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


NESTED = zipped({"set/readme.pdf": b"%PDF", "set/inner.zip": zipped(TEXTS)})


@dataclass
class Origin:
    """What the server gives, how much of it before it hangs up, and what it was asked."""

    body: bytes = NESTED
    etag: str | None = '"v1"'
    cut_at: int | None = None
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        start = 0
        if wanted and self.etag and handler.headers.get("If-Range") == self.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.body):
            handler.send_error(416)
            return
        if self.status != 200:
            handler.send_error(self.status)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(self.body) - start))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        part = self.body[start : self.cut_at]
        self.sent += len(part)
        handler.wfile.write(part)
        handler.close_connection = True


@contextmanager
def serving(origin: Origin) -> Iterator[Origin]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            origin.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        origin.url = f"http://127.0.0.1:{server.server_address[1]}/Some+Set.zip"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving(Origin()) as one:
        yield one


def entry(origin: Origin) -> DataSet:
    files = tuple(
        DataFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in TEXTS.items()
    )
    return DataSet("some", "Some set", "https://example.com", origin.url, "CC0", "none", 0, files)


def get(origin: Origin, folder: Path) -> tuple[list[str], list[tuple[int, int | None]]]:
    told: list[tuple[int, int | None]] = []
    one = entry(origin)
    names = fetch(one, folder, one.files, lambda done, whole: told.append((done, whole)))
    return names, told


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_zip_in_a_zip_is_fetched_checked_and_tidied_away(origin: Origin, tmp_path: Path) -> None:
    names, told = get(origin, tmp_path)
    assert set(names) == set(TEXTS)
    assert {name: (tmp_path / name).read_bytes() for name in TEXTS} == TEXTS
    assert names_in(tmp_path) == set(TEXTS)
    assert told[-1] == (len(NESTED), len(NESTED))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_file_is_found_by_its_folder_and_name_wherever_the_zip_has_it(tmp_path: Path) -> None:
    good, other = b"1;2\n" * 9, b"3;4\n" * 9
    body = zipped({"Set-main/data/valve2/0.csv": other, "Set-main/data/valve1/0.csv": good})
    file = DataFile("valve1/0.csv", len(good), hashlib.sha256(good).hexdigest())
    with serving(Origin(body)) as origin:
        one = replace(entry(origin), files=(file,))
        assert fetch(one, tmp_path, one.files, lambda *_: None) == ["valve1/0.csv"]
    assert (tmp_path / "valve1" / "0.csv").read_bytes() == good


def test_what_is_there_is_not_fetched_again(origin: Origin, tmp_path: Path) -> None:
    get(origin, tmp_path)
    assert get(origin, tmp_path)[0] == []
    assert len(origin.asked) == 1


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    origin: Origin, tmp_path: Path
) -> None:
    origin.cut_at = len(NESTED) // 3
    with pytest.raises(DataError, match="try again"):
        get(origin, tmp_path)
    assert not names_in(tmp_path) & set(TEXTS)
    origin.cut_at = None
    names, told = get(origin, tmp_path)
    assert set(names) == set(TEXTS)
    assert origin.asked == [None, f"bytes={len(NESTED) // 3}-"]
    assert origin.sent == len(NESTED)
    assert told[0][0] > len(NESTED) // 3


def test_another_version_at_the_origin_begins_again(origin: Origin, tmp_path: Path) -> None:
    origin.cut_at = len(NESTED) // 2
    with pytest.raises(DataError):
        get(origin, tmp_path)
    origin.cut_at, origin.etag = None, '"v2"'
    assert set(get(origin, tmp_path)[0]) == set(TEXTS)
    assert origin.sent == len(NESTED) // 2 + len(NESTED)


def test_a_server_without_a_validator_sends_everything_again(
    origin: Origin, tmp_path: Path
) -> None:
    origin.cut_at, origin.etag = len(NESTED) // 2, None
    with pytest.raises(DataError):
        get(origin, tmp_path)
    origin.cut_at = None
    assert set(get(origin, tmp_path)[0]) == set(TEXTS)
    assert origin.asked == [None, None]


def test_a_part_that_is_whole_already_is_asked_for_anew(origin: Origin, tmp_path: Path) -> None:
    origin.cut_at = len(NESTED) // 2
    with pytest.raises(DataError):
        get(origin, tmp_path)
    origin.cut_at = None
    (tmp_path / "some.part").write_bytes(NESTED)
    assert set(get(origin, tmp_path)[0]) == set(TEXTS)


def test_other_content_is_named_and_nothing_of_it_kept(origin: Origin, tmp_path: Path) -> None:
    origin.body = zipped(TEXTS | {"test.txt": TEXTS["test.txt"].replace(b"0.5", b"0.6")})
    with pytest.raises(DataError, match=r"test\.txt .*SHA-256"):
        get(origin, tmp_path)
    assert names_in(tmp_path) == set()


def test_an_archive_without_a_file_is_told(origin: Origin, tmp_path: Path) -> None:
    origin.body = zipped({"train.txt": TEXTS["train.txt"]})
    with pytest.raises(DataError, match=r"does not hold test\.txt"):
        get(origin, tmp_path)


def test_a_damaged_archive_is_told(origin: Origin, tmp_path: Path) -> None:
    body = bytearray(zipped(TEXTS))
    body[1000:1010] = b"damaged!!!"
    origin.body = bytes(body)
    with pytest.raises(DataError, match="damaged zip"):
        get(origin, tmp_path)


def test_an_answer_that_is_no_file_is_told_with_its_code(origin: Origin, tmp_path: Path) -> None:
    origin.status = 404
    with pytest.raises(DataError, match=f"{origin.url.replace('+', '.')} answers 404"):
        get(origin, tmp_path)


def test_nobody_at_the_origin_is_told_with_the_way_out(tmp_path: Path) -> None:
    with serving(Origin()) as gone:
        pass
    with pytest.raises(DataError, match="--from DIR"):
        get(gone, tmp_path)


def test_a_single_file_needs_no_archive(tmp_path: Path) -> None:
    with serving(Origin(body=TEXTS["train.txt"])) as origin:
        origin.url = origin.url.replace("Some+Set.zip", "train.txt")
        one = entry(origin)
        assert fetch(one, tmp_path, one.files[:1], lambda *_: None) == ["train.txt"]
    assert (tmp_path / "train.txt").read_bytes() == TEXTS["train.txt"]
