"""A history's rows -> a lake, through the same door as every gateway's uploads.

Blocks are cut the same way each time: what a killed import had committed is known by its marks, and
adds nothing when it comes again.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.labels import put_labels
from foreshock_wire.batch import Readings
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foreshock_trainer.history.lives import Lives
    from foreshock_trainer.labels import Label
    from foreshock_trainer.lake import Lake

SITE: Final = "history"
EPOCH: Final = "imported"
MACHINES_PER_GATEWAY: Final = 20
READINGS_PER_BATCH: Final = 50_000
BATCHES_PER_COMMIT: Final = 16


def put_history(
    lake: Lake,
    lives: Lives,
    channels: Sequence[str],
    labels: Sequence[Label],
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Put a history into a lake, each reading once; return how many readings are new.

    Args:
        lake: opened with `create=True`.
        lives: the rows.
        channels: ids of the channels, by the columns of `lives.values`.
        labels: what happened.
        progress: told after each commit how many rows it held.

    Raises:
        LakeError: the lake cannot be written.
    """
    ingest = Ingest(lake)
    pending: list[Message] = []
    rows = 0
    for count, message in _messages(lives, channels):
        pending.append(message)
        rows += count
        if len(pending) == BATCHES_PER_COMMIT:
            ingest.take(pending)
            progress(rows)
            pending, rows = [], 0
    ingest.take(pending)
    progress(rows)
    put_labels(lake, labels)
    return ingest.counters.readings


def _messages(lives: Lives, channels: Sequence[str]) -> Iterator[tuple[int, Message]]:
    """Yield rows of the history, and how many: a gateway's batches follow each other by seq."""
    per_batch = max(1, READINGS_PER_BATCH // max(1, len(channels)))
    spans = list(lives.spans())
    for number, start in enumerate(range(0, len(spans), MACHINES_PER_GATEWAY), start=1):
        some = spans[start : start + MACHINES_PER_GATEWAY]
        begin, end = some[0][1].start, some[-1][1].stop
        topic = uplink(Gateway(SITE, f"{SITE}-{number}"), Stream.READINGS)
        seq = 1
        for first, last in pairwise([*range(begin, end, per_batch), end]):
            batch = _batch(lives, slice(first, last), channels, seq)
            if len(batch):
                yield last - first, Message(topic, batch.to_bytes(level=1), time.time_ns())
            seq += len(batch)


def _batch(lives: Lives, rows: slice, channels: Sequence[str], seq: int) -> Readings:
    """Return the cells of some rows, row by row, without the missing ones."""
    values = lives.values[rows]
    row, channel = np.nonzero(~np.isnan(values))
    used, machine = np.unique(lives.machine[rows], return_inverse=True)
    time_ns = lives.time_ns[rows][row]
    return Readings(
        epoch=EPOCH,
        first_seq=seq,
        machines=[lives.machines[i] for i in used],
        channels=list(channels),
        machine=machine[row].astype(np.uint16),
        channel=channel.astype(np.uint16),
        time_ns=time_ns,
        received_ns=time_ns,
        value=values[row, channel],
        flags=np.zeros(len(row), np.uint8),
    )
