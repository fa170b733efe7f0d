"""All machines of a gateway in memory: which readings are new, and the windows they make due.

A restart begins with the last snapshot and replays the few chunks behind it, so it costs what the
machines cost, not what waits to go up. A change of how windows are cut replays the stored history.
"""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_agent.intake.recent import Recent, first_of_each
from foreshock_agent.judging.tracks import NO_TRACK
from foreshock_agent.store.chunks import Rows, rows_of
from foreshock_rules.rings import NEVER, NO_CHANNEL, DueWindows, Rings
from foreshock_wire.batch import FLAG_FUTURE, FLAG_LATE

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_agent.intake.columns import Block
    from foreshock_agent.judging.tracks import Tracks
    from foreshock_agent.store.records import Snapshot
    from foreshock_agent.store.store import Store
    from foreshock_rules.windows import WindowSpec
    from foreshock_wire.batch import Readings

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

SNAPSHOT_ROWS: Final = 100_000
SNAPSHOT_CHUNKS: Final = 500
"""What a restart replays at most, in readings and in chunks (more where a snapshot is large)."""

SOON_CHUNKS: Final = 50
"""Chunks between two snapshots at least, however much a full store is in need of one."""

RECENT_KEYS: Final = 200_000
"""Most readings that are remembered for copies; older ones are looked up in their chunks."""


class Taken(NamedTuple):
    """What became of readings: which were new, and the windows that they made due.

    `due.trigger` counts in the new ones.
    """

    new: Bool
    due: DueWindows


class Machines:
    """Every machine that was ever heard; numbers and names are those of `tracks`."""

    def __init__(self, spec: WindowSpec, store: Store, tracks: Tracks) -> None:
        self._store = store
        self.tracks = tracks
        self._old = store.old_readings(tracks)
        self._recent = Recent()
        self._columns = np.empty(0, np.int64)
        self._noted = 0
        self._forget_at = RECENT_KEYS // 4
        self._rows: list[Rows] = []
        self._scored_ns = np.empty(0, np.int64)
        self._changed = np.empty(0, np.bool_)
        self._rows_since = self._chunks_since = 0
        self._snapshot_due = False
        self._ahead = np.empty(0, np.int64)
        self._begun_anew: list[tuple[str, int]] = []
        self._cut_by(spec)
        self._restore(store.snapshot())

    def __len__(self) -> int:
        return len(self.tracks.machines)

    # What comes in --------------------------------------------------------------------------

    def take(self, rows: Rows, future: Bool) -> Taken:
        """Take readings in order of arrival; what is new is stored with the next `flush`.

        Readings from the future are stored, and kept out of the windows: they must not move a
        watermark. `rows.flags` are ours to fill in.
        """
        new = self._new(rows.track, rows.time_ns)
        rows, future = rows.at(new), future[new]
        if len(self._ahead):
            self._begin_anew(rows.at(~future))
        late, due = self._add(rows, future)
        flags = (FLAG_FUTURE * future + FLAG_LATE * late).astype(np.uint8)
        self._rows.append(rows._replace(flags=flags))
        return Taken(new, due)

    def find_ahead(self, limit_ns: int) -> None:
        """Find the machines whose newest time lies beyond what a right clock allows.

        It came while the clock was wrong or had no time. Such a machine begins anew with its next
        reading that is not from the future: else it would be late, and not scored, until then.
        """
        self._ahead = np.flatnonzero(self.newest_ns() > limit_ns)

    def _begin_anew(self, rows: Rows) -> None:
        """Empty the windows of machines that are ahead; what was scored is not scored again."""
        anew = np.intersect1d(self._ahead, self.tracks.machine[rows.track])
        if not len(anew):
            return
        self._ahead = np.setdiff1d(self._ahead, anew)
        now_ns = int(rows.received_ns.max())
        self._rings.clear(anew)
        self._scored_ns[anew] = np.minimum(self._scored_ns[anew], now_ns)
        tracks = np.flatnonzero(np.isin(self.tracks.machine, anew))
        self.tracks.settled_ns[tracks] = np.minimum(self.tracks.settled_ns[tracks], now_ns)
        self._changed[anew] = self._snapshot_due = True
        names = [self.tracks.machines[machine] for machine in anew.tolist()]
        log.warning("%s ran ahead by a wrong clock: windows begin anew", ", ".join(names))
        self._begun_anew += [(name, now_ns) for name in names]

    def take_begun_anew(self) -> list[tuple[str, int]]:
        """Return the machines that began anew since the last call, and when that was."""
        begun, self._begun_anew = self._begun_anew, []
        return begun

    def may_make_due(self, block: Block) -> bool:
        """Say whether `take` might return a window if it were given these readings."""
        known = block.track != NO_TRACK
        machine = self.tracks.machine[block.track[known]]
        self._grow()
        return bool(self._rings.may_be_due(machine, block.time_ns[known]).any())

    def _new(self, track: Int64, time_ns: Int64) -> Bool:
        """Say which readings are not stored yet; of copies among them the first one is new."""
        new = first_of_each(track, time_ns)
        asked = np.flatnonzero(new & (time_ns <= self.tracks.newest_ns[track]))
        if len(asked):
            new[asked[self._stored(track[asked], time_ns[asked])]] = False
        return new

    def _stored(self, track: Int64, time_ns: Int64) -> Bool:
        stored = self._recent.holds(track, time_ns)
        beyond = np.flatnonzero(~stored & (time_ns < self.tracks.remembered_ns[track]))
        if len(beyond):
            stored[beyond] = self._old.holds(track[beyond], time_ns[beyond])
        return stored

    def _add(self, rows: Rows, future: Bool) -> tuple[Bool, DueWindows]:
        """Bring new readings into memory: the keys, the windows, how far each machine has come."""
        tracks = self.tracks
        self._grow()
        machine = tracks.machine[rows.track]
        channel = np.where(future, NO_CHANNEL, self._column_of_track()[rows.track])
        late, due = self._rings.add(machine, channel, rows.time_ns, rows.value)
        self._recent.add(rows.track, rows.time_ns)
        np.maximum.at(tracks.newest_ns, rows.track, rows.time_ns)
        np.maximum.at(tracks.settled_ns, rows.track[~future], rows.time_ns[~future])
        self._changed[machine] = True
        fresh = due.end_ns > self._scored_ns[due.machine]
        due = due.at(fresh)
        np.maximum.at(self._scored_ns, due.machine, due.end_ns)
        return late, due

    def _grow(self) -> None:
        have, want = len(self._scored_ns), len(self)
        if want > have:
            more = max(want, 2 * have) - have
            self._scored_ns = np.concatenate([self._scored_ns, np.zeros(more, np.int64)])
            self._changed = np.concatenate([self._changed, np.zeros(more, np.bool_)])
        self._rings.grow(want)

    def _column_of_track(self) -> Int64:
        """Return each track's column in the windows, NO_CHANNEL where they do not hold it."""
        if len(self._columns) < len(self.tracks):
            self._columns = self.tracks.columns(self.spec.channels)
        return self._columns

    @property
    def unwritten(self) -> int:
        """How many readings the next `flush` will write."""
        return sum(len(rows.track) for rows in self._rows)

    # What is written ------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was taken into the open transaction, and a snapshot when one is due."""
        if self._rows:
            rows = Rows._make(np.concatenate(part) for part in zip(*self._rows, strict=True))
            self._rows = []
            if len(rows.track):
                self._store.add_rows(rows, self.tracks)
                self._rows_since += len(rows.track)
                self._chunks_since += 1
        for machine in self.tracks.machines[self._noted :]:
            self._store.add_machine(machine)
        self._noted = len(self)
        if self._snapshot_is_due():
            self.save()

    def forget(self) -> None:
        """Keep the memory for copies within its bounds; only after what it holds was committed."""
        if len(self._recent) < self._forget_at:
            return
        reach_ns = 2 * self.spec.history_ns
        self._forget_before(reach_ns)
        while len(self._recent) > RECENT_KEYS and reach_ns:
            reach_ns //= 2
            self._forget_before(reach_ns)
        self._forget_at = max(RECENT_KEYS // 4, len(self._recent) * 5 // 4)

    def _forget_before(self, reach_ns: int) -> None:
        tracks = self.tracks
        before = self.newest_ns()[tracks.machine] - reach_ns
        self._recent.forget(before)
        np.maximum(tracks.remembered_ns, before, out=tracks.remembered_ns)

    def newest_ns(self) -> Int64:
        """Return each machine's newest time, no future stamp: that of its windows if it has any."""
        newest = np.full(len(self), NEVER, np.int64)
        np.maximum.at(newest, self.tracks.machine, self.tracks.settled_ns)
        self._grow()
        in_windows = self._rings.newest_ns[: len(self)]
        return np.where(in_windows > NEVER, in_windows, newest)

    def scored_ns(self) -> dict[str, int]:
        """Return up to when each machine's windows were scored, 0 where none was yet."""
        return dict(zip(self.tracks.machines, self._scored_ns.tolist(), strict=False))

    def trim(self, keep_ns: int) -> bool:
        """Delete delivered readings older than `keep_ns` behind their machine's newest one.

        Returns whether there may be more to do.
        """
        if not len(self):
            return False
        oldest_ns = self.newest_ns() - keep_ns

        def needed(batch: Readings) -> Bool:
            rows = rows_of(batch, self.tracks)
            return rows.time_ns >= oldest_ns[self.tracks.machine[rows.track]]

        return self._store.trim_readings(int(oldest_ns.max()), needed)

    # Snapshots ------------------------------------------------------------------------------

    def _snapshot_is_due(self) -> bool:
        chunks = max(SNAPSHOT_CHUNKS, self._rings.size_bytes // 4096)
        rows = max(SNAPSHOT_ROWS, self._rings.size_bytes // 16)
        return self._snapshot_due or self._rows_since >= rows or self._chunks_since >= chunks

    def save_soon(self) -> bool:
        """Say whether the next `flush` writes a snapshot; what it holds may be deleted then."""
        self._snapshot_due = self._snapshot_due or self._chunks_since >= SOON_CHUNKS
        return self._snapshot_due

    def save(self) -> None:
        """Write a snapshot of the machines that changed since the last one."""
        self._grow()
        changed = np.flatnonzero(self._changed[: len(self)]).tolist()
        tracks = self._tracks_by_machine()
        names = self.tracks.machines
        states = [(names[machine], self._state(machine, tracks[machine])) for machine in changed]
        self._store.save_snapshot(_said(self.spec), states)
        self._changed[:] = self._snapshot_due = False
        self._rows_since = self._chunks_since = 0

    def _tracks_by_machine(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in self.tracks.machines]
        for track, machine in enumerate(self.tracks.machine.tolist()):
            found[machine].append(track)
        return found

    def _state(self, machine: int, tracks: list[int]) -> bytes:
        known = self.tracks
        newest = {
            known.channels[known.channel[track]]: (
                int(known.newest_ns[track]),
                int(known.settled_ns[track]),
            )
            for track in tracks
        }
        head = {
            "newest_ns": int(self._rings.newest_ns[machine]),
            "scored_ns": int(self._scored_ns[machine]),
            "tracks": newest,
        }
        return zlib.compress(json.dumps(head).encode() + b"\n" + self._rings.saved(machine), 1)

    def _restore(self, snapshot: Snapshot) -> None:
        """Begin with a snapshot, and replay what was stored after it."""
        self._noted = len(snapshot.states)
        same_windows = snapshot.windows in {"", _said(self.spec)}
        try:
            for machine, state in snapshot.states.items():
                self._set(machine, state, with_ring=same_windows)
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            log.exception(
                "the snapshot of the windows is damaged: all is read anew", exc_info=error
            )
            self._rings = Rings(self.spec)
            self._replay(after_n=0)
            return
        self.tracks.remembered_ns[:] = self.tracks.newest_ns + 1
        if not same_windows:
            oldest_ns = self._oldest_needed(self.spec)
            self._replay_windows(newest_ns=oldest_ns, upto_n=snapshot.n)
        self._replay(after_n=snapshot.n)

    def _set(self, machine: str, state: bytes | None, *, with_ring: bool) -> None:
        number = self.tracks.machine_number(machine)
        self._grow()
        if state is None:
            return
        text, _, ring = zlib.decompress(state).partition(b"\n")
        head = json.loads(text)
        for channel, (newest_ns, settled_ns) in head["tracks"].items():
            track = self.tracks.number(machine, channel)
            self.tracks.newest_ns[track] = newest_ns
            self.tracks.settled_ns[track] = settled_ns
        self._scored_ns[number] = head["scored_ns"]
        if with_ring:
            self._rings.restore(number, head["newest_ns"], ring)

    def _replay(self, after_n: int) -> None:
        """Take stored readings once more; what becomes due on the way was scored before."""
        for batch in self._store.history(after_n=after_n):
            rows = rows_of(batch, self.tracks)
            self._add(rows, (batch.flags & FLAG_FUTURE) > 0)
            self._rows_since += len(batch)
            self._chunks_since += 1
            self.forget()

    def use(self, spec: WindowSpec) -> None:
        """Cut windows by `spec` from now on, beginning with what the store holds."""
        self.flush()
        oldest_ns = self._oldest_needed(spec)
        self._cut_by(spec)
        self._replay_windows(newest_ns=oldest_ns)

    def _oldest_needed(self, spec: WindowSpec) -> int:
        newest = self.newest_ns()
        heard = newest[newest > NEVER]
        return max(0, int(heard.min()) - spec.history_ns) if len(heard) else 0

    def _cut_by(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._columns = np.empty(0, np.int64)
        self._rings = Rings(spec)

    def _replay_windows(self, newest_ns: int, upto_n: int | None = None) -> None:
        """Fill the rings alone, from chunks that hold something as new as `newest_ns`."""
        self._grow()
        for batch in self._store.history(upto_n=upto_n, newest_ns=newest_ns):
            rows = rows_of(batch, self.tracks)
            channel = self._column_of_track()[rows.track]
            channel[(batch.flags & FLAG_FUTURE) > 0] = NO_CHANNEL
            machine = self.tracks.machine[rows.track]
            self._rings.add(machine, channel, rows.time_ns, rows.value)
        self._changed[: len(self)] = True
        self._snapshot_due = True


def _said(spec: WindowSpec) -> str:
    return json.dumps(asdict(spec))
