"""A data set's files on this machine: found plain or gzipped, and checked by size and SHA-256."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from foreshock_trainer.datasets.base import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataFile, DataSet

GZIP: Final = ".gz"


class State(StrEnum):
    """What a file is, measured against the registry."""

    WHOLE = "whole"
    MISSING = "missing"
    PARTIAL = "partial"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a data set: its state here, and in words what is wrong with it, or ""."""

    name: str
    subset: str
    state: State
    problem: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as one flat object."""
        return {key: str(value) for key, value in asdict(self).items()}


def verify(folder: Path, files: Sequence[DataFile]) -> list[Found]:
    """Read every file and say whether it is the one that the registry knows."""
    return [_look(folder, file)[0] for file in files]


def content(folder: Path, file: DataFile) -> bytes:
    """Return a file's uncompressed bytes, which are the registry's.

    Raises:
        DataError: it is missing, partial or altered; says what to do.
    """
    found, data = _look(folder, file)
    if found.state is not State.WHOLE:
        raise DataError(f"{found.problem}: {way_out(folder)}")
    return data


def require(data_set: DataSet, folder: Path, subset: str | None = None) -> None:
    """Raise unless all files of a subset are here and whole.

    Raises:
        DataError: names each file that is not.
    """
    found = verify(folder, data_set.files_of(subset))
    if problems := [one.problem for one in found if one.state is not State.WHOLE]:
        raise DataError(f"{'; '.join(problems)}: {way_out(folder, data_set)}")


def way_out(folder: Path, data_set: DataSet | None = None) -> str:
    """Return what a person does about files that are not there or not whole."""
    name = data_set.name if data_set else "NAME"
    return f"get them with `foreshock trainer data fetch {name} --data {folder}`"


def check(file: DataFile, data: bytes, where: str) -> Found:
    """Measure bytes against the registry; `where` names their place in what is said."""
    if len(data) < file.size_bytes:
        size = f"{len(data):,} of {file.size_bytes:,} bytes"
        return Found(file.name, file.subset, State.PARTIAL, f"{where} is cut short ({size})")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        problem = f"{where} is not the published file (its SHA-256 differs)"
        return Found(file.name, file.subset, State.ALTERED, problem)
    return Found(file.name, file.subset, State.WHOLE)


def _look(folder: Path, file: DataFile) -> tuple[Found, bytes]:
    plain = folder / file.name
    zipped = plain.with_name(plain.name + GZIP)
    try:
        if plain.is_file():
            data = plain.read_bytes()
            return check(file, data, str(plain)), data
        if zipped.is_file():
            data = _unzipped(zipped)
            return check(file, data, str(zipped)), data
    except OSError as error:
        raise DataError(f"{plain} cannot be read: {error.strerror or error}") from None
    except zlib.error as error:
        problem = f"{zipped} is damaged ({error})"
        return Found(file.name, file.subset, State.ALTERED, problem), b""
    return Found(file.name, file.subset, State.MISSING, f"{plain} is missing"), b""


def _unzipped(path: Path) -> bytes:
    """Return what a gzip file holds, up to where it breaks off."""
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(path.read_bytes())
