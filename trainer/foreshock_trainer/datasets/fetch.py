"""Gets a data set's files: from its origin over HTTP, or out of a folder that somebody has.

A download goes on where it broke off when the server can (a range request guarded by its validator,
RFC 9110 section 14), and begins again when it cannot. Every file is checked before it is put in
place, and is put in place whole: temporary name, fsync, rename.
"""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Final

from foreshock_trainer.datasets.base import DataError
from foreshock_trainer.datasets.files import State, check, content, verify
from foreshock_wire.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from http.client import HTTPResponse
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataFile, DataSet

CHUNK_BYTES: Final = 1 << 16
TIMEOUT_S: Final = 30.0
MOST_NESTED: Final = 3
"""How deep zips may lie in each other."""
MOST_MEMBER_BYTES: Final = 1 << 30
"""A zip member that claims to be larger is refused before it is unpacked."""

Progress = Callable[[int, int | None], object]
"""Told (bytes so far, bytes in all or None where the server does not say)."""


def take_from(source: Path, folder: Path, files: Sequence[DataFile]) -> list[str]:
    """Copy files that somebody has (plain or .gz) into `folder`; return the names that are new.

    Raises:
        DataError: one is missing, partial or altered in `source`.
    """
    fresh = _wanted(folder, files)
    data = {file.name: content(source, file) for file in fresh}
    for name, body in data.items():
        put(folder / name, body)
    return list(data)


def fetch(
    data_set: DataSet, folder: Path, files: Sequence[DataFile], progress: Progress
) -> list[str]:
    """Download what is not here yet, and return the names that are new.

    Raises:
        DataError: the origin cannot be reached, sends less than it said, or sends other files.
    """
    fresh = _wanted(folder, files)
    if not fresh:
        return []
    if data_set.download is None:
        raise DataError(
            f"{data_set.name} has no address for programs: get its files from {data_set.page} and "
            "give their folder with --from"
        )
    archive = download(data_set.download, folder / f"{data_set.name}.part", progress)
    try:
        found = _published(archive, fresh, data_set.download)
    finally:
        forget(archive)
    for name, body in found.items():
        put(folder / name, body)
    return list(found)


def _wanted(folder: Path, files: Sequence[DataFile]) -> list[DataFile]:
    states = verify(folder, files)
    return [file for file, one in zip(files, states, strict=True) if one.state is not State.WHOLE]


def put(path: Path, data: bytes) -> None:
    """Write a file, and the folders that it stands in, so that it is either not there or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, data)


# The download ------------------------------------------------------------------------------


def download(url: str, part: Path, progress: Progress) -> Path:
    """Download `url` to the file `part`, going on where an earlier call broke off.

    Raises:
        DataError: names the address and what went wrong; what has come stays for the next call.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(url, part) as answer:
            _receive(answer, url, part, progress)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url} answers {error.code} {error.reason}: see its page") from None
    except (OSError, HTTPException) as error:
        raise DataError(
            f"{url} cannot be fetched ({error}): try again, it goes on where it broke off; "
            "or give the files with --from DIR"
        ) from None
    return part


def forget(part: Path) -> None:
    """Remove a download and what was noted about it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _opened(url: str, part: Path) -> HTTPResponse:
    """Ask for the rest if a validator says that it is still the same file, else for all of it."""
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{url} is no address of the web")
    request = urllib.request.Request(url)  # noqa: S310 - the scheme was looked at
    have, validator = _had(part, url)
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        forget(part)
        return _opened(url, part)
    return answer


def _receive(answer: HTTPResponse, url: str, part: Path, progress: Progress) -> None:
    goes_on = answer.status == HTTPStatus.PARTIAL_CONTENT
    have = part.stat().st_size if goes_on else 0
    length = answer.headers.get("Content-Length")
    whole = have + int(length) if length else None
    note = {"url": url, "validator": _validator(answer)}
    put(_note(part), json.dumps(note).encode())
    with part.open("ab" if goes_on else "wb") as out:
        for chunk in iter(lambda: answer.read(CHUNK_BYTES), b""):
            out.write(chunk)
            have += len(chunk)
            progress(have, whole)
    if whole is not None and have < whole:
        raise OSError(f"only {have:,} of {whole:,} bytes came")


def _validator(answer: HTTPResponse) -> str | None:
    """Return what tells this version of the file from others: a strong ETag, or its date."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _had(part: Path, url: str) -> tuple[int, str | None]:
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        return (part.stat().st_size, note["validator"]) if note["url"] == url else (0, None)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None


# What was downloaded -------------------------------------------------------------------------


def _published(archive: Path, files: Sequence[DataFile], url: str) -> dict[str, bytes]:
    """Return the wanted files out of a download, each as the registry knows it.

    Raises:
        DataError: one is not in it, or is another one.
    """
    wanted = {file.name: file for file in files}
    found = {
        name: data
        for path, data in _members(archive.read_bytes(), url.rpartition("/")[2], 0)
        for name in wanted
        if f"/{path}".endswith(f"/{name}")
    }
    if missing := wanted.keys() - found.keys():
        raise DataError(f"{url} does not hold {', '.join(sorted(missing))}")
    for name, data in found.items():
        seen = check(wanted[name], data, f"{name} from {url}")
        if seen.state is not State.WHOLE:
            raise DataError(f"{seen.problem}: nothing of it was kept")
    return found


def _members(data: bytes, name: str, depth: int) -> Iterator[tuple[str, bytes]]:
    """Yield (path, bytes) of a file, or of everything in a zip and in the zips in it."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        yield name, data
        return
    if depth == MOST_NESTED:
        raise DataError(f"{name} holds zips in zips, deeper than {MOST_NESTED}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                if member.file_size > MOST_MEMBER_BYTES:
                    raise DataError(f"{member.filename} in {name} claims {member.file_size} bytes")
                yield from _members(archive.read(member), member.filename, depth + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{name} is a damaged zip: {error}") from None
