"""Recorded telemetry: a folder of batch files goes through the same path as MQTT uploads.

`foreshock_wire.recorded` has the layout; `events.csv` in it holds the labels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.label_files import LabelReport, add_labels
from foreshock_wire.errors import ForeshockError
from foreshock_wire.recorded import EVENTS_FILE, address, batch_files
from foreshock_wire.topics import Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from foreshock_trainer.ingest import Answer
    from foreshock_trainer.lake import Lake

ROUND_BYTES: Final = 8 << 20
"""Compressed bytes of batch files that go into one commit."""


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What a folder brought: the ingest's counters, and its labels when it had any."""

    files: int
    counters: dict[str, int]
    labels: LabelReport | None


def ingest_folder(
    lake: Lake, folder: Path, *, progress: Callable[[int], None] = lambda _: None
) -> FolderReport:
    """Take a folder into the lake; what is already there adds nothing.

    Args:
        lake: the lake, opened with `create=True`.
        folder: where the files are.
        progress: called after each commit with the number of files it held.

    Raises:
        ForeshockError: the folder is not one of recorded telemetry, a file cannot be read as a
            batch (it is then in quarantine), or a file is missing from a gateway's sequence.
    """
    files = batch_files(folder)
    unreadable: list[tuple[Message, str]] = []
    ingest = Ingest(lake, on_unreadable=lambda message, why: unreadable.append((message, why)))
    for batch in _rounds(files):
        messages = [_message(file) for file in batch]
        answers = ingest.take(messages)
        for message, why in unreadable:
            file = batch[messages.index(message)]
            raise ForeshockError(f"{file} is no batch of readings (kept in quarantine): {why}")
        _check_whole(answers)
        progress(len(batch))
    events = folder / EVENTS_FILE
    labels = add_labels(lake, events) if events.exists() else None
    return FolderReport(len(files), ingest.counters.as_dict(), labels)


def _check_whole(answers: Sequence[Answer]) -> None:
    for at, answer in answers:
        if answer.expected is not None:
            raise ForeshockError(
                f"{at.site}/{at.gateway}: the file of epoch {answer.epoch} from seq "
                f"{answer.expected} on is missing; what comes after it was not taken"
            )


def _message(file: Path) -> Message:
    topic = uplink(address(file), Stream.READINGS)
    return Message(topic, file.read_bytes(), time.time_ns())


def _rounds(files: Sequence[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.stat().st_size
        if size >= ROUND_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
