"""The agent's SQLite file: the outbox, the windows' memory, the accounts; one writer, crash-only.

Everything between two `commit`s is one transaction: readings, scores, alarm heads, seq counters
and accounts stand or fall together. WAL with `synchronous=FULL`: a commit survives a power cut.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.beacon import Beacon, Known
from foreshock_agent.damage.errors import DAMAGED, StoreDamagedError, corruption_told
from foreshock_agent.damage.header import Header
from foreshock_agent.damage.opening import mark_damaged, opened
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.damage.rescue import COMMITS, COUNTED
from foreshock_agent.intake.dead_letters import keep_letter
from foreshock_agent.intake.identity import Seen
from foreshock_agent.store import chunks, gaps, schema, streams
from foreshock_agent.store.accounts import Accounts
from foreshock_agent.store.cursors import Cursors, begin_epoch
from foreshock_agent.store.drops import Drops
from foreshock_agent.store.journal import Journaled, both_states, journaled, newest_alarm
from foreshock_agent.store.records import Snapshot
from foreshock_agent.store.seals import (
    ACCOUNTS,
    ALARM_HEADS,
    INTAKE,
    MACHINES,
    RECORDS,
    SCORES,
    SNAPSHOT,
)
from foreshock_agent.store.trimming import Trimming
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from foreshock_agent.damage.errors import UnreadableError
    from foreshock_agent.damage.opening import Opened
    from foreshock_agent.judging.tracks import Tracks
    from foreshock_agent.store.chunks import Bool, Rows
    from foreshock_agent.store.records import ScoreRow
    from foreshock_agent.store.seals import Sealed, Values
    from foreshock_agent.store.worth import Span
    from foreshock_wire.batch import Readings

log = logging.getLogger(__name__)

PERIODS: Final = 5_000
"""Newest alarms around which a full store keeps readings longer than others."""


class Store(Journaled):
    """The single writer of the agent's database; what a disk refuses is not lost (`Journaled`)."""

    def __init__(self, path: Path, now_ns: int) -> None:
        """Open it for a new start, at `now_ns` (UTC); one that is damaged is begun anew.

        Raises:
            StoreError: another agent runs on it, or it cannot be read or written.
        """
        super().__init__()
        try:
            self._open(path, now_ns)
        except StoreDamagedError as fault:
            mark_damaged(path, str(fault))
            self._open(path, now_ns)

    def _open(self, path: Path, now_ns: int) -> None:
        with ExitStack() as undo:
            found = opened(path)
            undo.enter_context(found.lock)
            self._db = found.db
            held = os.open(path, os.O_RDONLY)
            undo.callback(os.close, held)
            undo.callback(self._db.close)
            with corruption_told():
                self._begin(path, found, now_ns)
            Header.of(path, held).keep()
            self._ends = undo.pop_all()

    def _begin(self, path: Path, found: Opened, now_ns: int) -> None:
        self.accounts = Accounts(dict(row.values for row in ACCOUNTS.read(self._db)))
        self._quarantine = Quarantine.of(path)
        self._trimming = Trimming(
            self._db, lambda fault: self._put_aside("chunks", fault.n, fault.values)
        )
        self._known_n = found.known.last_n if found.known else 0
        self._version = schema.version(self._db), schema.fingerprint(self._db)
        self.begin()
        begin_epoch(self._db, now_ns)
        self._read_again()
        self.beacon = Beacon(path)
        self._finish()
        self._quarantine.prune(self._needed)
        self._note_stored()
        self.beacon.sync()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _newest_n(self) -> int:
        newest = "SELECT max(coalesce((SELECT max(n) FROM chunks), 0), ?, ?)"
        found = self._db.execute(newest, (self.snapshot().n, self._known_n)).fetchone()
        return int(found[0])

    @property
    def epoch(self) -> str:
        """The epoch of this start: what is stored from now on is numbered in it."""
        return self._cursors.now.name

    @property
    def last_start_ns(self) -> int | None:
        """When the start before this one was (UTC, as the clock stood); None if that is over."""
        before = self._cursors.before
        return None if before is None else before.started_ns

    def close(self) -> None:
        """Close; what was not committed is not there."""
        self.beacon.close()
        self._ends.close()

    def begin(self) -> None:
        """Open the transaction that the next `commit` ends, unless one is open."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    def _finish(self) -> None:
        self.begin()
        self.accounts.add(COMMITS)
        self._cursors.save(self._db)
        ACCOUNTS.put(self._db, self.accounts.changed(), "INSERT OR REPLACE")
        self._db.execute("COMMIT")
        self._known_n, self._needed = self._last_n, self._cursors.quarantined()
        self.beacon.write(self._known())

    def _known(self) -> Known:
        version, fingerprint = self._version
        return Known(
            commits=self.accounts[COMMITS],
            last_n=self._last_n,
            version=version,
            schema=fingerprint,
            counts={table: len(names) for table, names in self._counted.items()},
            epochs=tuple(self._cursors.epochs.values()),
            tombstones=dict(self._tombstoned),
            accounts=self.accounts.snapshot(),
        )

    def _read_again(self) -> None:
        self._cursors = Cursors.read(self._db)
        self._last_n = self._newest_n()
        self._tombstoned = Counter(gaps.pending(self._db))
        self._counted = {
            table: {name for (name,) in self._db.execute(f"SELECT machine FROM {table}")}  # noqa: S608
            for table in COUNTED
        }

    @journaled(bulk=True)
    def add_rows(self, rows: Rows, tracks: Tracks) -> None:
        """Store readings as a chunk, or as several where they are many; their seqs go on."""
        self.begin()
        for start in range(0, len(rows.track), chunks.MOST_ROWS):
            part = rows.at(slice(start, start + chunks.MOST_ROWS))
            first_seq = self._cursors.number(Stream.READINGS, len(part.track))
            batch = chunks.batch_of(part, tracks, self.epoch, first_seq)
            self._last_n += 1
            chunks.add(self._db, self._last_n, self._cursors.now.n, batch)

    @journaled(bulk=True)
    def add_scores(self, rows: Sequence[ScoreRow]) -> None:
        """Store scores."""
        self.begin()
        epoch_n, first = self._cursors.now.n, self._cursors.number(Stream.SCORES, len(rows))
        SCORES.put(self._db, ((epoch_n, seq, *row) for seq, row in enumerate(rows, first)))

    @journaled()
    def add_record(self, stream: Stream, body: str) -> None:
        """Store an alarm or event (JSON) for the uplink."""
        self.begin()
        seq = self._cursors.number(stream)
        RECORDS.put(self._db, [(stream, self._cursors.now.n, seq, body)])

    def next_seq(self, stream: Stream) -> int:
        """Return the seq that the next record of a stream is given."""
        return self._cursors.now.following[stream]

    @journaled(key=lambda machine: machine)
    def add_machine(self, machine: str) -> None:
        """Note a machine that was heard for the first time."""
        self.begin()
        MACHINES.put(self._db, [(machine, None)], "INSERT OR IGNORE")
        self._counted[MACHINES.name].add(machine)

    @journaled(key=lambda *_: "", merge=both_states)
    def save_snapshot(self, windows: str, states: Sequence[tuple[str, bytes]]) -> None:
        """Save the states of the machines that changed since the last one; the others stand."""
        self.begin()
        MACHINES.put(self._db, states, "INSERT OR REPLACE")
        SNAPSHOT.put(self._db, [(1, self._last_n, windows)], "INSERT OR REPLACE")

    def snapshot(self) -> Snapshot:
        """Return the last snapshot; of an empty store, one of nothing."""
        found = self._db.execute("SELECT n, windows FROM snapshot").fetchone()
        states = dict(self._db.execute("SELECT machine, state FROM machines"))
        n, windows = found or (0, "")
        return Snapshot(n, windows, states)

    @journaled(key=lambda machine, *_: machine, merge=newest_alarm)
    def save_alarm(self, machine: str, head: str, alarm: str | None) -> None:
        """Save a machine's alarm head, and its retained alarm message when that changed."""
        self.begin()
        if alarm is None:
            before = "SELECT alarm FROM alarm_heads WHERE machine = ?"
            (alarm,) = self._db.execute(before, (machine,)).fetchone() or (None,)
        ALARM_HEADS.put(self._db, [(machine, head, alarm)], "INSERT OR REPLACE")
        self._counted[ALARM_HEADS.name].add(machine)

    @journaled()
    def protect(self, machine: str, episode: int, from_ns: int, to_ns: int) -> None:
        """Let a full store drop what lies around an alarm later than the rest (event time)."""
        self.begin()
        self._db.execute(
            "INSERT INTO periods (machine, episode, from_ns, to_ns) VALUES (?1, ?2, ?3, ?4) "
            "ON CONFLICT (machine, episode) DO UPDATE SET from_ns = min(from_ns, ?3), "
            "to_ns = max(to_ns, ?4)",
            (machine, episode, from_ns, to_ns),
        )
        self._db.execute(
            "DELETE FROM periods WHERE rowid <= (SELECT max(rowid) FROM periods) - ?", (PERIODS,)
        )

    @journaled(bulk=True)
    def save_intake(self, seen: Sequence[Seen], forget_up_to: int) -> None:
        """Save which messages the open transaction holds, and forget the older ones."""
        self.begin()
        rows = ((one.packet_id, one.payload_hash, one.number) for one in seen)
        INTAKE.put(self._db, rows, "INSERT OR REPLACE")
        self._db.execute("DELETE FROM intake WHERE n <= ?", (forget_up_to,))

    @journaled(bulk=True)
    def quarantine(self, topic: str, payload: bytes, reason: str, received_ns: int) -> None:
        """Keep a rejected message for a look; the oldest make room."""
        self.begin()
        keep_letter(self._db, topic, payload, reason, received_ns)

    @journaled(bulk=True)
    def release(self, letter_id: int) -> None:
        """Let a kept message go, with the readings that the open transaction stores of it."""
        self.begin()
        self._db.execute("DELETE FROM quarantine WHERE id = ?", (letter_id,))
        self.accounts.add("letters.taken")

    @journaled()
    def acked(self, epoch: str, stream: Stream, seq: int, said: int = 0) -> None:
        """The lake holds this stream up to `seq`: move the cursor, count what was delivered.

        It `said` how far it holds the stream, which may be more than we sent.
        """
        if epoch not in self._cursors.epochs:
            return
        if max(seq, said) >= self._cursors.epochs[epoch].following[stream]:
            # No copy mints our epoch; a machine put back to a snapshot of its memory goes on in it.
            log.error("the lake holds %s of %s beyond ours: who else writes it?", stream, epoch)
            self.accounts.add("epochs.written_elsewhere")
        before, after = self._cursors.acknowledge(epoch, stream, seq)
        if after == before:
            return
        self.begin()
        self._cursors.save(self._db)
        number = self._cursors.epochs[epoch].n
        dropped = gaps.settle(self._db, stream, number, before, after)
        self._tombstoned[stream] -= dropped
        if stream is not Stream.READINGS:
            streams.delete(self._db, stream, number, before + 1, after)
        self.accounts.add(f"{stream}.delivered", after - before - dropped)

    def bury(self, stream: Stream, epoch_n: int, first_seq: int, last_seq: int, reason: str) -> int:
        """Put a tombstone in the place of records that are gone, and count them as dropped.

        Their rows must be gone already, and no tombstone may hold any of these seqs. Returns how
        many they are.
        """
        self.begin()
        tombstone = gaps.Tombstone(stream, epoch_n, first_seq, last_seq, reason)
        gaps.add(self._db, tombstone)
        self._tombstoned[stream] += tombstone.size
        self.accounts.add(f"{stream}.dropped.{reason}", tombstone.size)
        return tombstone.size

    def drops(self, reach: int) -> Drops:
        """Return what chooses the records that a full store drops."""
        return Drops(self._db, reach)

    @journaled()
    def drop_span(self, stream: Stream, span: Span, reason: str) -> None:
        """Leave a tombstone in the place of records that follow one another."""
        self.begin()
        at = (span.epoch_n, span.first_seq, span.last_seq)
        streams.delete(self._db, stream, *at)
        self.bury(stream, *at, reason)

    @journaled()
    def condemn(self, found: UnreadableError) -> None:
        """Give up what cannot be read after a mark, up to the next record that can."""
        epoch = next((one for one in self._cursors.epochs.values() if one.n == found.epoch_n), None)
        if epoch is None or epoch.salvage is not None:
            return
        stream, mark = found.stream, max(found.mark, epoch.acked[found.stream])
        self.begin()
        end = epoch.following[stream] - 1
        lost = streams.unreadable(self._db, stream, epoch.n, mark, end)
        for piece in lost.rows:
            self._put_aside(streams.table_of(stream).name, piece.rowid, piece.values)
        if lost.last_seq > mark:
            self.bury(stream, epoch.n, mark + 1, lost.last_seq, DAMAGED)

    @journaled()
    def restore(self, table: Sealed, rows: Sequence[Values]) -> None:
        """Take rows of a damaged database over, under the keys that they have; once each."""
        self.begin()
        wanted = [row for row in rows if self._cursors.salvages(*streams.key_of(table, row))]
        table.put(self._db, wanted, "INSERT OR IGNORE")

    @journaled()
    def salvaged(self) -> None:
        """What could be salvaged is here: the epochs' records may go up, around what is missing."""
        self.begin()
        self._cursors.end_salvage(self._db)

    def _put_aside(self, table: str, rowid: int, values: Values) -> None:
        """Move a damaged row to the quarantine."""
        reason = "it is not what was written: its checksum differs"
        self._quarantine.keep_row(table, values, reason)
        self._quarantine.prune(self._needed)
        self._db.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))  # noqa: S608

    def trim_readings(self, newest_ns: int, needed: Callable[[Readings], Bool]) -> bool:
        """Delete delivered readings that nobody needs; return whether there may be more to do.

        Only chunks with nothing newer than `newest_ns` are looked into; `needed` says which of a
        chunk's readings must stay. A chunk of which some must is kept with those alone.
        """
        if self.refusal is None:
            with self.noting_refusals():
                self.begin()
                return self._trimming.trim(newest_ns, self.snapshot().n, needed)
        return False

    def history(
        self, *, after_n: int = 0, upto_n: int | None = None, newest_ns: int = 0
    ) -> Iterator[Readings]:
        """Yield stored readings of a range of chunks, in order of arrival.

        Chunks that hold nothing as new as `newest_ns` are left out; damaged ones are told and
        left out.
        """
        where = "n > ? AND n <= ? AND newest_ns >= ? ORDER BY n"
        last_n = self._last_n if upto_n is None else upto_n
        for chunk in chunks.find(self._db, where, (after_n, last_n, newest_ns), damaged=log.error):
            yield chunk.readings

    def old_readings(self, tracks: Tracks) -> chunks.OldReadings:
        """Return the look-up of single readings."""
        return chunks.OldReadings(self._db, tracks)

    def alarms(self) -> dict[str, tuple[str, str | None]]:
        """Return (head, retained alarm) as JSON of every machine."""
        rows = self._db.execute("SELECT machine, head, alarm FROM alarm_heads")
        return {machine: (head, alarm) for machine, head, alarm in rows}

    def intake(self) -> list[Seen]:
        """Return the messages of the last in-flight window, oldest first."""
        rows = self._db.execute("SELECT packet_id, payload_hash, n FROM intake ORDER BY n")
        return [Seen(*row) for row in rows]
