"""In the place of a data folder that has become read-only: one in memory, until it can be written.

A gateway whose memory card has died still has to score and to raise alarms. So the agent runs on a
fresh database in memory that begins with the windows, alarms and model that can be read; readings
are scored, acknowledged and counted as rejected, and what waits on the disk waits on. When the disk
takes writes again the service begins anew on it, and brings the alarms and the accounts along.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage import rescue
from foreshock_agent.store import schema
from foreshock_agent.store.database import connect
from foreshock_agent.store.seals import ACCOUNTS, ALARM_HEADS, RECORDS
from foreshock_wire.files import write_durably
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from foreshock_agent.settings import Settings
    from foreshock_agent.store.store import Store

log = logging.getLogger(__name__)

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder that we make there is ours alone
_INTAKE: Final = ("messages.", "readings.", "commands.")


@dataclass(frozen=True, slots=True)
class Place:
    """Settings with the data folder to use; `instead_of` is the database that is read-only.

    `settings` are what to begin with, `load` reads them again.
    """

    settings: Settings
    load: Callable[[], Settings]
    instead_of: Path | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """What a stand-in knew: alarm heads (machine, head, alarm), unsent records, the intake."""

    heads: tuple[tuple[str, str, str | None], ...] = ()
    records: tuple[tuple[Stream, str], ...] = ()
    accounts: Mapping[str, int] | None = None

    @classmethod
    def of(cls, database: Path) -> Carried:
        """Read what a stand-in leaves; records that the lake has acknowledged are gone there."""
        with closing(connect(database, read_only=True)) as db:
            heads = tuple(row.values for row in ALARM_HEADS.read(db))
            found = (row.values for row in RECORDS.read(db, "ORDER BY rowid"))
            records = tuple((Stream(stream), body) for stream, _, _, body in found)
            accounts: dict[str, int] = dict(row.values for row in ACCOUNTS.read(db))
        intake = {name: count for name, count in accounts.items() if name.startswith(_INTAKE)}
        return cls(heads, records, intake)

    def into(self, store: Store) -> None:
        """Bring it into a store that was just opened."""
        if self.accounts is None:
            return
        for machine, head, alarm in self.heads:
            store.save_alarm(machine, head, alarm)
        for stream, body in self.records:
            store.add_record(stream, body)
        for name, count in self.accounts.items():
            store.accounts.add(name, count)
        store.begin()
        store.commit()


def is_read_only(database: Path) -> bool:
    """Say whether the database is there, is ours, and cannot be written.

    What is another user's is somebody's mistake: a stand-in would take the messages of their agent.
    """
    try:
        ours = database.stat().st_uid == os.geteuid()
    except OSError:
        return False
    return ours and not all(os.access(one, os.W_OK) for one in (database.parent, database))


@contextmanager
def writable(settings: Settings, load: Callable[[], Settings]) -> Iterator[Place]:
    """Give the place to work in: what the settings say, or a stand-in in memory for it."""
    if not is_read_only(settings.database):
        yield Place(settings, load)
        return
    log.error("%s is read-only: readings are scored, not stored", settings.data_dir)
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="foreshock-", dir=memory) as folder:
        there = Path(folder)
        _lay_out(settings.data_dir, there)
        moved = {"data_dir": there}
        with closing(connect(there / settings.database.name)) as db:
            schema.migrate(db)
            rescue.remember(settings.database, db)
        yield Place(
            settings.model_copy(update=moved),
            lambda: load().model_copy(update=moved),
            settings.database,
        )
        if not is_read_only(settings.database):
            _bring_back(settings, there)


def _bring_back(settings: Settings, folder: Path) -> None:
    """Keep what was spent of the day's budget, if the disk takes it."""
    spent = folder / settings.uplink_spent.name
    with suppress(OSError):
        write_durably(settings.uplink_spent, spent.read_bytes())


def _lay_out(data: Path, folder: Path) -> None:
    """Copy the small files that a start reads, and link to the model files."""
    (folder / "models").mkdir()
    small = [data / "topics.json", data / "root.json", data / "uplink-day.json"]
    small += [data / "models" / "state.json", *(data / "metadata").glob("*.json")]
    for file in small:
        target = folder / file.relative_to(data)
        target.parent.mkdir(exist_ok=True)
        with suppress(OSError):
            shutil.copyfile(file, target)
    for file in (data / "models").glob("*.onnx"):
        (folder / "models" / file.name).symlink_to(file.resolve())
