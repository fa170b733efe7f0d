"""Recorded telemetry as a folder: what a plant, a data set and an import write, and who reads it.

Layout: `DIR/{site}/{gateway}/{epoch}-{first_seq}.fsb` holds the bytes of one readings batch, and a
gateway's files, sorted by name, are its uploads in order. `DIR/events.csv` holds the work orders
where there are any, and is written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_wire.batch import Readings, decode
from foreshock_wire.errors import BatchError, ForeshockError
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX: Final = ".fsb"
EVENTS_FILE: Final = "events.csv"
READINGS_PER_FILE: Final = 50_000


def write_readings(folder: Path, at: Gateway, readings: Readings) -> int:
    """Write a gateway's readings, however many, and return how many files they fill."""
    rest, files = readings, 0
    while len(rest):
        part = rest.up_to(rest.first_seq + READINGS_PER_FILE - 1)
        file = folder / at.site / at.gateway / f"{part.epoch}-{part.first_seq:012d}{SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(part.to_bytes())
        rest, files = rest.after(part.last_seq), files + 1
    return files


def batch_files(folder: Path) -> list[Path]:
    """Return the batch files of a folder, by site, gateway and name.

    Raises:
        ForeshockError: no such folder, nothing recorded in it, or a site or gateway folder whose
            name is not an id.
    """
    if not folder.is_dir():
        raise ForeshockError(
            f"{folder} is not a folder: give the one with {{site}}/{{gateway}} in it"
        )
    files = sorted(folder.glob(f"*/*/*{SUFFIX}"))
    if not files and not (folder / EVENTS_FILE).exists():
        raise ForeshockError(
            f"{folder} holds neither {{site}}/{{gateway}}/*{SUFFIX} files nor {EVENTS_FILE}"
        )
    for file in files:
        address(file)
    return files


def address(file: Path) -> Gateway:
    """Return the gateway that a batch file's folders say it is from.

    Raises:
        InvalidIdError: their names are not ids.
    """
    return Gateway(file.parent.parent.name, file.parent.name)


def read_batches(folder: Path) -> Iterator[Readings]:
    """Yield a folder's batches, gateway by gateway, each gateway's in order.

    Raises:
        ForeshockError: as `batch_files`, or a file is no batch of readings; names it.
    """
    for file in batch_files(folder):
        try:
            yield decode(file.read_bytes(), Readings)
        except BatchError as error:
            raise ForeshockError(f"{file} is no batch of readings: {error}") from None
