"""Behind the pipeline: what a damaged database still holds is salvaged, what waits is checked.

Both read by connections of their own and let the pipeline write; both take small steps, so that
scoring never waits for them.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage import rescue
from foreshock_agent.damage.errors import UnreadableError, corruption_told
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.items import StoreTask
from foreshock_agent.store.database import connect
from foreshock_agent.store.seals import CHUNKS, EPOCHS, RECORDS, SCORES
from foreshock_agent.uplink.outbox import Outbox
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock_agent.store.seals import Sealed, Values
    from foreshock_agent.store.store import Store

log = logging.getLogger(__name__)

PORTION: Final = 100
"""Rows that are salvaged, or checked, in one step."""

PAUSE_S: Final = 1.0
"""Before the salvage, and between two steps of the scrub: 100 chunks a second at most."""


class Mender:
    """The thread that salvages and scrubs; `post` hands the pipeline what is to be written."""

    def __init__(
        self, database: Path, post: Callable[[StoreTask], object], sync: Callable[[], None]
    ) -> None:
        self._database = database
        self._post = post
        self._sync = sync
        self._seen: dict[Stream, dict[str, int]] = {stream: {} for stream in Stream}

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set.

        Raises:
            StoreDamagedError: the database is not what was written.
        """
        if stopping.wait(PAUSE_S):  # what the machines' broker kept is scored first
            return
        for portion in self.salvage():
            if not self._written(portion, stopping):
                return
        with closing(Outbox(self._database)) as outbox:
            while not stopping.wait(PAUSE_S):
                self._sync()
                for task in self.scrub(outbox):
                    self._post(task)

    def _written(self, task: StoreTask, stopping: threading.Event) -> bool:
        """Have a task done, and wait for it; return false when the end came first."""
        done = threading.Event()

        def work(store: Store) -> None:
            task.work(store)
            done.set()

        self._post(StoreTask(work))
        while not done.wait(PAUSE_S):
            if stopping.is_set():
                return False
        return not stopping.is_set()

    def salvage(self) -> Iterator[StoreTask]:
        """Yield what brings unsent records over from quarantined databases, and closes with that.

        It may be broken off anywhere, and begun again.
        """
        entries = self._entries()
        for entry in entries:
            file = Quarantine.of(self._database).folder / entry / self._database.name
            with rescue.readable(file) as old:
                if old is None:
                    log.error("%s: nothing of it can be read", file)
                    continue
                for table in (RECORDS, SCORES, CHUNKS):
                    for rows in _portions(rescue.rows(old, table)):
                        yield StoreTask(partial(_restore, table, rows))
        if entries:
            yield StoreTask(_close)

    def _entries(self) -> list[str]:
        with corruption_told(), closing(connect(self._database, read_only=True)) as db:
            found = EPOCHS.read(db, "WHERE salvage IS NOT NULL ORDER BY n")
            names = [name for row in found for name in row.values[-1].split()]
        return list(dict.fromkeys(names))

    def scrub(self, outbox: Outbox) -> Iterator[StoreTask]:
        """Check a portion of each stream; yield what gives up the damage that was found."""
        for stream, seen in self._seen.items():
            try:
                found = outbox.look(stream, seen, PORTION)
            except UnreadableError as damage:
                log.error("%s", damage)  # noqa: TRY400 - the message says it all
                yield StoreTask(partial(condemn, damage))
                continue
            if found is None:
                seen.clear()
            else:
                seen[found[0]] = found[1]


def condemn(damage: UnreadableError, store: Store) -> None:
    """Have the writer give up what cannot be read."""
    store.condemn(damage)


def _portions(rows: Iterator[Values]) -> Iterator[list[Values]]:
    while portion := list(islice(rows, PORTION)):
        yield portion


def _restore(table: Sealed, rows: list[Values], store: Store) -> None:
    store.restore(table, rows)


def _close(store: Store) -> None:
    store.salvaged()
