"""The beacon: what had been committed, kept apart from the database that it bears witness on.

A damaged write-ahead log makes SQLite go back to an earlier commit without a word, and a damaged
file may lose anything. So after each commit, and before anything is acknowledged, the numbers of
that commit are written to one of two small files, in turn: which epochs there are, how far their
streams have come, how much of these was dropped, the accounts. A database that knows less
than its beacon has lost something.

Writing costs no fsync: a process that is killed leaves what it wrote with the system. After a power
cut the beacon may be behind the database (`sync` bounds by how much), which says nothing wrong.
"""

from __future__ import annotations

import logging
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import orjson

from foreshock_agent.store.cursors import Epoch
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

_HEAD: Final = "foreshock beacon 1 {crc:08x} {size:08d}\n"
_HEAD_BYTES: Final = len(_HEAD.format(crc=0, size=0))


@dataclass(frozen=True, slots=True)
class Known:
    """What the database held after a commit; `commits` counts them over all starts."""

    commits: int
    last_n: int
    version: int
    schema: int
    counts: Mapping[str, int]
    epochs: tuple[Epoch, ...]
    tombstones: Mapping[str, int]
    accounts: Mapping[str, int]

    def to_bytes(self) -> bytes:
        """Return the beacon's form of it."""
        body = orjson.dumps(
            {
                "commits": self.commits,
                "last_n": self.last_n,
                "version": self.version,
                "schema": self.schema,
                "counts": self.counts,
                "epochs": [_said(epoch) for epoch in self.epochs],
                "tombstones": {str(s): n for s, n in self.tombstones.items()},
                "accounts": self.accounts,
            }
        )
        head = _HEAD.format(crc=zlib.crc32(body), size=len(body))
        return head.encode() + body

    @classmethod
    def from_bytes(cls, content: bytes) -> Self | None:
        """Return what a beacon says; None when it was cut off or is damaged."""
        head, rest = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
        try:
            size = int(head.split()[-1])
        except (ValueError, IndexError):
            return None
        body = rest[:size]
        if head != _HEAD.format(crc=zlib.crc32(body), size=size).encode():
            return None
        raw = orjson.loads(body)
        raw["epochs"] = tuple(map(_epoch, raw["epochs"]))
        return cls(**raw)


def _said(epoch: Epoch) -> list[Any]:
    marks = {str(stream): (epoch.acked[stream], epoch.following[stream]) for stream in Stream}
    return [epoch.n, epoch.name, epoch.started_ns, epoch.salvage, marks]


def _epoch(said: list[Any]) -> Epoch:
    n, name, started_ns, salvage, marks = said
    acked = {Stream(stream): mark for stream, (mark, _) in marks.items()}
    following = {Stream(stream): mark for stream, (_, mark) in marks.items()}
    return Epoch(n, name, started_ns, salvage, acked, following)


def paths(database: Path) -> list[Path]:
    """Return the two files beside a database."""
    return [database.with_suffix(f".beacon{number}") for number in (0, 1)]


def read(database: Path) -> Known | None:
    """Return the newest thing that a database's beacon says; None when it says nothing."""
    said = [Known.from_bytes(content) for content in _contents(paths(database))]
    return max(filter(None, said), key=lambda known: known.commits, default=None)


def _contents(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError:
            yield b""


class Beacon:
    """The two files of a database's only writer."""

    def __init__(self, database: Path) -> None:
        self._files = [os.open(p, os.O_RDWR | os.O_CREAT, 0o640) for p in paths(database)]

    def write(self, known: Known) -> None:
        """Write what was committed, over the older of the two.

        A disk that refuses leaves a beacon that is behind, which claims nothing wrong.
        """
        try:
            os.pwrite(self._files[known.commits % 2], known.to_bytes(), 0)
        except OSError as error:
            log.warning("the beacon cannot be written: %s", error)

    def sync(self) -> None:
        """Bring it to the disk, if that takes it; any thread may."""
        for file in self._files:
            with suppress(OSError):
                os.fdatasync(file)

    def close(self) -> None:
        """Close, with everything on the disk."""
        self.sync()
        for file in self._files:
            os.close(file)
