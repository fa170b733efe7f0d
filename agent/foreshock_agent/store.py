"""The agent's SQLite file: the outbox, the windows' memory, the accounts; one writer, crash-only.

Everything between two `commit`s is one transaction: readings, scores, alarm heads, seq counters
and accounts stand or fall together. WAL with `synchronous=FULL`: a commit survives a power cut.
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import takewhile
from typing import IO, TYPE_CHECKING, Final

from foreshock_agent import schema
from foreshock_agent.accounts import Accounts
from foreshock_agent.intake import Seen
from foreshock_wire.errors import ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from foreshock_rules.readings import Reading

TRIM_ROWS: Final = 10_000
"""Most readings of one channel that one trim deletes, so that scoring never waits for long."""

QUARANTINE_ROWS: Final = 1000
"""Newest rejected messages that are kept for a look."""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One scored window as it is stored; `model` is a SHA-256 or "rule"."""

    machine: str
    time_ns: int
    scored_ns: int
    model: str
    margin: float
    probability: float
    novelty: float


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open the database as every part of the agent does."""
    if read_only:
        found = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
        found.execute("PRAGMA query_only=1")
        return found
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={16 << 20}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class StoreError(ForeshockError):
    """The database cannot be used; the message says which, why and what to do."""


def _lock(path: Path) -> IO[bytes]:
    """Hold the data folder for this process; a killed one lets go by dying.

    Raises:
        StoreError: another agent runs on it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("wb")
    except OSError as error:
        raise StoreError(f"data folder {path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreError(
            f"another agent runs on {path.parent}: stop it, or give this one its own data_dir"
        ) from None
    return lock


def _migrated(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        connection = connect(path)
        schema.migrate(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if not isinstance(error, sqlite3.Error):
            raise
        raise StoreError(
            f"database {path}: {error}; free the disk or its permissions, or if it is damaged "
            "move it aside (never delete it: it holds what was not delivered yet)"
        ) from None
    return connection


class Store:
    """The single writer of the agent's database."""

    def __init__(self, path: Path, now_ns: int) -> None:
        with ExitStack() as undo:
            self._lock = undo.enter_context(_lock(path.with_suffix(".lock")))
            self._db = undo.enter_context(closing(_migrated(path)))
            undo.pop_all()
        self.accounts = Accounts(dict(self._db.execute("SELECT name, value FROM accounts")))
        self.epoch, self._epoch_n = self._mint_epoch(now_ns)
        self._next = dict.fromkeys(Stream, 1)
        self._forget_epochs()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _mint_epoch(self, now_ns: int) -> tuple[str, int]:
        epoch = f"{now_ns:016x}{secrets.token_hex(4)}"
        cursor = self._db.execute(
            "INSERT INTO epochs (epoch, started_ns) VALUES (?, ?)", (epoch, now_ns)
        )
        number = int(cursor.lastrowid or 0)
        self._db.executemany(
            "INSERT INTO cursors (epoch, stream, next_seq, acked_seq) VALUES (?, ?, 1, 0)",
            [(number, stream) for stream in Stream],
        )
        return epoch, number

    def _forget_epochs(self) -> None:
        """Forget the epochs of earlier starts of which nothing is left to send or to keep."""
        self._db.executescript(
            "BEGIN IMMEDIATE;"
            "DELETE FROM epochs WHERE n < (SELECT max(n) FROM epochs) "
            "AND NOT EXISTS (SELECT 1 FROM readings WHERE readings.epoch = n) AND NOT EXISTS "
            "(SELECT 1 FROM cursors WHERE cursors.epoch = n AND acked_seq < next_seq - 1);"
            "DELETE FROM cursors WHERE epoch NOT IN (SELECT n FROM epochs);"
            "COMMIT"
        )

    def close(self) -> None:
        """Close; what was not committed is not there."""
        self._db.close()
        self._lock.close()

    def begin(self) -> None:
        """Open the transaction that the next `commit` ends, unless one is open."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make everything since the last commit durable, the accounts and cursors with it."""
        self.begin()
        self._db.executemany(
            "UPDATE cursors SET next_seq = ? WHERE epoch = ? AND stream = ?",
            [(seq, self._epoch_n, stream) for stream, seq in self._next.items()],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO accounts (name, value) VALUES (?, ?)", self.accounts.changed()
        )
        self._db.execute("COMMIT")

    def add_reading(self, reading: Reading, received_ns: int, flags: int) -> bool:
        """Store a reading; return false if the same one is there already."""
        self.begin()
        seq = self._next[Stream.READINGS]
        row = (self._epoch_n, seq, *reading[:4], received_ns, flags)
        stored = self._db.execute(
            "INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (machine, channel, time_ns) DO NOTHING",
            row,
        ).rowcount
        self._next[Stream.READINGS] += stored
        return bool(stored)

    def add_scores(self, rows: Iterable[ScoreRow]) -> None:
        """Store scores and move each machine's scored head."""
        self.begin()
        for row in rows:
            self._db.execute(
                "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._epoch_n,
                    self._next[Stream.SCORES],
                    row.machine,
                    row.time_ns,
                    row.scored_ns,
                    row.model,
                    row.margin,
                    row.probability,
                    row.novelty,
                ),
            )
            self._next[Stream.SCORES] += 1

    def add_record(self, stream: Stream, body: str) -> None:
        """Store an alarm or event (JSON) for the uplink."""
        self.begin()
        self._db.execute(
            "INSERT INTO records (stream, epoch, seq, body) VALUES (?, ?, ?, ?)",
            (stream, self._epoch_n, self._next[stream], body),
        )
        self._next[stream] += 1

    def save_machine(self, machine: str, newest_ns: int, scored_ns: int) -> None:
        """Save how far a machine's readings and scores have come (event time)."""
        self.begin()
        self._db.execute(
            "INSERT OR REPLACE INTO machines (machine, newest_ns, scored_ns) VALUES (?, ?, ?)",
            (machine, newest_ns, scored_ns),
        )

    def save_alarm(self, machine: str, head: str, alarm: str | None) -> None:
        """Save a machine's alarm head, and its retained alarm message when that changed."""
        self.begin()
        self._db.execute(
            "INSERT INTO alarm_heads (machine, head, alarm) VALUES (?1, ?2, ?3) "
            "ON CONFLICT (machine) DO UPDATE SET head = ?2, alarm = coalesce(?3, alarm)",
            (machine, head, alarm),
        )

    def save_intake(self, seen: Iterable[Seen], forget_up_to: int) -> None:
        """Save which messages the open transaction holds, and forget the older ones."""
        self.begin()
        self._db.executemany(
            "INSERT OR REPLACE INTO intake (packet_id, payload_hash, n) VALUES (?, ?, ?)",
            [(one.packet_id, one.payload_hash, one.number) for one in seen],
        )
        self._db.execute("DELETE FROM intake WHERE n <= ?", (forget_up_to,))

    def quarantine(self, topic: str, payload: bytes, reason: str, received_ns: int) -> None:
        """Keep a rejected message for a look; the oldest make room."""
        self.begin()
        cursor = self._db.execute(
            "INSERT INTO quarantine (topic, payload, reason, received_ns) VALUES (?, ?, ?, ?)",
            (topic[:256], payload[:4096], reason, received_ns),
        )
        self._db.execute(
            "DELETE FROM quarantine WHERE id <= ?", ((cursor.lastrowid or 0) - QUARANTINE_ROWS,)
        )

    def acked(self, epoch: str, stream: Stream, seq: int) -> None:
        """The lake holds this stream up to `seq`: move the cursor, count what was delivered."""
        found = self._db.execute(
            "SELECT n, acked_seq, next_seq FROM cursors JOIN epochs ON n = cursors.epoch "
            "WHERE epochs.epoch = ? AND stream = ?",
            (epoch, stream),
        ).fetchone()
        if found is None:
            return
        number, before, following = found
        last = (self._next[stream] if number == self._epoch_n else following) - 1
        after = min(seq, last)
        if after <= before:
            return
        self.begin()
        self._db.execute(
            "UPDATE cursors SET acked_seq = ? WHERE epoch = ? AND stream = ?",
            (after, number, stream),
        )
        self.accounts.add(f"{stream}.delivered", after - before)
        if stream is not Stream.READINGS:
            self._forget(stream, number, after)

    def _forget(self, stream: Stream, epoch: int, seq: int) -> None:
        if stream is Stream.SCORES:
            self._db.execute("DELETE FROM scores WHERE epoch = ? AND seq <= ?", (epoch, seq))
            return
        self._db.execute(
            "DELETE FROM records WHERE stream = ? AND epoch = ? AND seq <= ?", (stream, epoch, seq)
        )

    def trim_readings(self, keep_ns: int) -> int:
        """Delete delivered readings older than `keep_ns` behind their machine's newest one.

        Each channel is read from its oldest reading on, up to the first that must stay, so the
        cost is that of what goes: neither the backlog nor the windows' memory is looked through.
        A machine none of whose readings ever stood in a window is measured by the channel itself.
        """
        self.begin()
        acked = dict(
            self._db.execute("SELECT epoch, acked_seq FROM cursors WHERE stream = 'readings'")
        )
        return sum(
            self._trim_channel(machine, channel, keep_ns, acked)
            for machine, channel in self._channels()
        )

    def _trim_channel(
        self, machine: str, channel: str, keep_ns: int, acked: Mapping[int, int]
    ) -> int:
        oldest = self._db.execute(
            "SELECT rowid, epoch, seq FROM readings WHERE machine = ?1 AND channel = ?2 "
            "AND time_ns < coalesce((SELECT newest_ns FROM machines WHERE machine = ?1), "
            "(SELECT max(time_ns) FROM readings WHERE machine = ?1 AND channel = ?2)) - ?3 "
            "ORDER BY time_ns LIMIT ?4",
            (machine, channel, keep_ns, TRIM_ROWS),
        )
        gone = takewhile(lambda row: row[2] <= acked.get(row[1], 0), oldest)
        rows = [(row[0],) for row in gone]
        oldest.close()
        self._db.executemany("DELETE FROM readings WHERE rowid = ?", rows)
        return len(rows)

    def _channels(self) -> Iterator[tuple[str, str]]:
        """Yield each (machine, channel) that has readings, by one step in the index each."""
        # (machine, channel) > (?, ?) would do, but SQLite walks through all equal rows for it.
        select, order = "SELECT machine, channel FROM readings WHERE ", " ORDER BY 1, 2 LIMIT 1"
        at: tuple[str, str] | None = ("", "")
        while at:
            machine, channel = at
            at = (
                self._db.execute(
                    f"{select} machine = ? AND channel > ? {order}", (machine, channel)
                ).fetchone()
                or self._db.execute(f"{select} machine > ? {order}", (machine,)).fetchone()
            )
            if at:
                yield at

    def tail(
        self, machine: str, channels: Sequence[str], from_ns: int
    ) -> Iterator[tuple[str, int, float, int]]:
        """Yield (channel, time_ns, value, flags) of a machine since `from_ns`, as they arrived."""
        marks = ", ".join("?" * len(channels))
        yield from self._db.execute(
            "SELECT channel, time_ns, value, flags FROM readings WHERE machine = ? "  # noqa: S608
            f"AND channel IN ({marks}) AND time_ns >= ? ORDER BY epoch, seq",
            (machine, *channels, from_ns),
        )

    def machines(self) -> dict[str, tuple[int, int]]:
        """Return (newest reading, last scored window end) of every machine."""
        rows = self._db.execute("SELECT machine, newest_ns, scored_ns FROM machines")
        return {machine: (newest, scored) for machine, newest, scored in rows}

    def alarms(self) -> dict[str, tuple[str, str | None]]:
        """Return (head, retained alarm) as JSON of every machine."""
        rows = self._db.execute("SELECT machine, head, alarm FROM alarm_heads")
        return {machine: (head, alarm) for machine, head, alarm in rows}

    def intake(self) -> list[Seen]:
        """Return the messages of the last in-flight window, oldest first."""
        rows = self._db.execute("SELECT packet_id, payload_hash, n FROM intake ORDER BY n")
        return [Seen(*row) for row in rows]
