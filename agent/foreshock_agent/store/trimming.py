"""Delivered readings that nobody needs are deleted, a bounded part at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_agent.store import chunks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from foreshock_agent.store.chunks import Bool, ChunkDamagedError, Found
    from foreshock_wire.batch import Readings

TRIM_CHUNKS: Final = 200
"""Most chunks that one trim looks into, so that scoring never waits for long."""


class Trimming:
    """Goes through delivered chunks in the writer's open transaction.

    `damaged` puts a chunk aside that cannot be read. Should it not have been delivered after all,
    then its stream has a hole now, which whoever reads the stream comes upon (`Store.condemn`).
    """

    def __init__(
        self, db: sqlite3.Connection, damaged: Callable[[ChunkDamagedError], None]
    ) -> None:
        self._db = db
        self._damaged = damaged
        self._kept_n = 0

    def trim(self, newest_ns: int, snapshot_n: int, needed: Callable[[Readings], Bool]) -> bool:
        """Return whether there may be more to do; see `Store.trim_readings`.

        Chunks behind the snapshot stay: a restart begins with it and replays them.
        """
        pending_n = chunks.first_pending(self._db)
        upto_n = snapshot_n if pending_n is None else min(snapshot_n, pending_n - 1)
        old = self._numbers(
            "kept = 0 AND settled_ns < ? AND n <= ? ORDER BY n LIMIT ?",
            (newest_ns, upto_n, TRIM_CHUNKS),
        )
        for chunk in self._opened(old):
            chunks.keep_only(self._db, chunk, needed(chunk.readings))
        self._trim_kept(needed)
        return len(old) == TRIM_CHUNKS

    def _trim_kept(self, needed: Callable[[Readings], Bool]) -> None:
        """Look through a part of the kept chunks, from where the last call ended."""
        limit = TRIM_CHUNKS // 4
        some = self._numbers("kept = 1 AND n > ? ORDER BY n LIMIT ?", (self._kept_n, limit))
        self._kept_n = some[-1] if len(some) == limit else 0
        for chunk in self._opened(some):
            still = needed(chunk.readings)
            if not still.all():
                chunks.keep_only(self._db, chunk, still)

    def _numbers(self, where: str, values: tuple[int, ...]) -> list[int]:
        query = f"SELECT n FROM chunks WHERE {where}"  # noqa: S608 - constants
        return [n for (n,) in self._db.execute(query, values)]

    def _opened(self, numbers: list[int]) -> Iterator[Found]:
        """Yield delivered chunks, one in memory at a time; damaged ones are put aside instead."""
        for n in numbers:
            damaged: list[ChunkDamagedError] = []
            yield from list(chunks.find(self._db, "n = ?", (n,), damaged.append))
            for fault in damaged:
                self._damaged(fault)
