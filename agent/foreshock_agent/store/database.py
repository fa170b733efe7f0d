"""The connection to the agent's SQLite file, as every part of the agent makes it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import SQLITE_ERRORS, corruption_told
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_BYTES: Final = 2048
"""Half of SQLite's own: most pages of a commit change in a few bytes, and each is written whole. A
commit of a second writes a third less; with a quarter, large chunks would cost half as much again.
A database that is there already keeps its size."""


class NoStoreError(ForeshockError):
    """There is no database that can be read."""


@contextmanager
def looking(database: Path) -> Iterator[sqlite3.Connection]:
    """Look at one moment of a database that a running agent may go on writing.

    Raises:
        NoStoreError: there is none.
        StoreDamagedError: SQLite cannot read it.
    """
    if not database.exists():
        raise NoStoreError(f"{database} does not exist: has the agent run with these settings?")
    with corruption_told(SQLITE_ERRORS), closing(connect(database, read_only=True)) as db:
        db.execute("BEGIN")
        yield db


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database; WAL with `synchronous=FULL`, so that a commit survives a power cut.

    Read only, nothing of the file is looked at yet: it may be damaged.
    """
    if read_only:
        # Without a log beside it SQLite would make one, which a read-only folder does not take.
        alone = not path.with_name(path.name + "-wal").exists()
        steady = "&immutable=1" if alone and not os.access(path.parent, os.W_OK) else ""
        found = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro{steady}",
            uri=True,
            timeout=5,
            check_same_thread=False,
        )
        found.text_factory = _text
        found.execute("PRAGMA query_only=1")
        return found
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    connection.text_factory = _text
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={16 << 20}")
    except BaseException:
        connection.close()
        raise
    return connection


_text = partial(str, encoding="utf-8", errors="replace")
"""A damaged text is read, and then refused by its row's checksum."""
