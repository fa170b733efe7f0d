"""What a commit does when the disk does not do its part: hold back, give up the bulk, recover.

While a commit cannot be made nothing is acknowledged, so the broker keeps what it has; scoring and
alarms go on. After `hold_s`, or when too much waits, readings and scores are given up: they are
acknowledged, counted as rejected, and scored in memory; alarms, heads and accounts wait for the
disk. As soon as it takes them, and has room, everything is stored again.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import DiskIsBackError
from foreshock_agent.store import disk
from foreshock_agent.store.disk import Ballast
from foreshock_agent.store.room import Bounds, Room, excess, has_room_for_bulk
from foreshock_agent.store.stand_in import is_read_only
from foreshock_agent.store.store import Store
from foreshock_agent.store.worth import REACH_UPLOADS, STORAGE_FULL, Worth

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_agent.clock import Clock
    from foreshock_agent.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
"""How often the room is measured, and a disk that refused is tried again."""

HELD_BYTES: Final = 8 << 20
"""Messages that wait unacknowledged at most: a QoS 0 source is not held back by that."""

RESUME_S: Final = 10.0
RESUME_MAX_S: Final = 300.0
"""How long after giving up readings are tried again: twice as long each time that it was vain."""

DROP_BYTES: Final = 4 << 20
"""The most that one commit drops, so that scoring never waits for long."""


ROOM_TO_START: Final = 256 << 10
"""What opening a database may write before anything can be dropped from it."""


def open_store(settings: Settings, now_ns: int) -> Store:
    """Open the store; where the disk is full the ballast makes room for that.

    Raises:
        StoreError: it cannot be used, for another reason or even so.
    """
    if disk.free_bytes(settings.data_dir) < ROOM_TO_START:
        _ballast(settings).release()
    return Store(settings.database, now_ns)


def _ballast(settings: Settings) -> Ballast:
    return Ballast(settings.data_dir / "ballast", settings.retention.ballast_bytes)


class Keeper:
    """Commits a store, within its bounds and whatever the disk says."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        *,
        free_bytes: Callable[[], int] | None = None,
        instead_of: Path | None = None,
    ) -> None:
        """Keep it; with `instead_of` it stands in for a database that is read-only."""
        self._store = store
        self._instead_of = instead_of
        self._free_bytes = free_bytes or partial(disk.free_bytes, settings.data_dir)
        self._clock = clock
        self._reach = 0
        self._refused_s: float | None = None
        self._resume_s = clock.monotonic_s()
        self._pause_s = RESUME_S
        self._next_look_s = clock.monotonic_s()
        self.room = Room(0, 0, 0)
        self.use(settings)
        self.look()

    def use(self, settings: Settings) -> None:
        """Keep the store within these bounds from now on."""
        retention = settings.retention
        self._bounds = Bounds(
            retention.max_bytes, retention.min_free_bytes, retention.ballast_bytes
        )
        self._hold_s = retention.hold_s
        self._ballast = _ballast(settings)
        # What is on its way may have been sent under earlier settings.
        self._reach = max(self._reach, REACH_UPLOADS * settings.uplink.batch_records)
        self._drops = self._store.drops(self._reach)

    @property
    def holds_back(self) -> bool:
        """Whether something waits for a disk that refuses."""
        return self._refused_s is not None and not self._store.shedding

    def commit(self, held_bytes: int) -> bool:
        """Commit; return whether what was taken may be acknowledged.

        It may when it is durable, and when it was given up, which the accounts tell. `held_bytes`
        is what the unacknowledged messages take.

        Raises:
            DiskIsBackError: nothing was done, see `give_way`.
        """
        self.give_way()
        if self._commits():
            self._refused_s = None
            self.look()
            return True
        now_s = self._clock.monotonic_s()
        if self._refused_s is None:
            self._refused_s = now_s
            log.error("the disk refuses a commit, nothing is acknowledged: %s", self._store.refusal)
        patient = now_s - self._refused_s < self._hold_s and held_bytes < HELD_BYTES
        if patient and not self._store.shedding:
            return False
        if not self._store.shedding:
            self._give_up(now_s)
        self._store.shed()
        return True

    def _give_up(self, now_s: float) -> None:
        log.error("the disk still refuses: readings and scores are not stored")
        self._resume_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, RESUME_MAX_S)

    def _commits(self) -> bool:
        """Commit, or make the open transaction again where that is due."""
        if self._store.commit():
            return True
        if self._refused_s is not None and self._clock.monotonic_s() < self._next_look_s:
            return False
        self._next_look_s = self._clock.monotonic_s() + LOOK_EVERY_S
        if self._store.retry():
            return True
        return self._ballast.release() and self._store.retry()

    def give_way(self) -> None:
        """Let the service begin anew if the database that this one stands in for can be written.

        Raises:
            DiskIsBackError: it can.
        """
        if self._instead_of is not None and not is_read_only(self._instead_of):
            raise DiskIsBackError(f"{self._instead_of} can be written again, and is")

    def look(self) -> None:
        """Measure the room, and decide what the next transaction may hold; between two of them."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_EVERY_S
        self.room = self._drops.room(self._free_bytes())
        roomy = has_room_for_bulk(self.room, self._bounds) and now_s >= self._resume_s
        roomy = roomy and self._instead_of is None
        if now_s >= self._resume_s + 2 * self._pause_s:
            self._pause_s = RESUME_S
        if not self._ballast.aboard and self.room.free > self._bounds.min_free:
            self._ballast.take()
        if roomy == self._store.shedding:
            log.error("readings and scores are %s", "stored again" if roomy else "not stored")
        self._store.shedding = not roomy

    @property
    def excess(self) -> int:
        """How many bytes must go, as of the last look."""
        return 0 if self._store.refusal is not None else excess(self.room, self._bounds)

    def measure(self) -> int:
        """Return how many bytes must go now, what the open transaction frees taken into account."""
        self.room = self._drops.room(self.room.free)
        return self.excess

    def drop(self) -> None:
        """Drop a part of the excess, the least valuable first.

        Alarms and events go only where they alone are too many: for a disk that others filled they
        have the reserve.
        """
        over = self.room.used > self._bounds.max_bytes
        dearest = Worth.ALARMS if over else Worth.SCORES_AROUND_ALARMS
        stream, spans = self._drops.choose(min(self.excess, DROP_BYTES), dearest)
        for span in spans:
            self._store.drop_span(stream, span, STORAGE_FULL)
        self._next_look_s = self._clock.monotonic_s()

    @property
    def problem(self) -> str:
        """What is wrong with the disk, for a person; empty if nothing is."""
        if self._store.refusal is not None:
            held = "readings are not stored" if self._store.shedding else "nothing is acknowledged"
            return f"the disk refuses to write ({self._store.refusal}): {held}"
        if self._instead_of is not None:
            return f"{self._instead_of} is read-only: readings are scored, not stored"
        if self._store.shedding:
            return "the disk is full: readings are scored, not stored"
        return ""

    def gauges(self) -> dict[str, float]:
        """Return what /metrics says of the disk."""
        return {
            "store_used_bytes": self.room.used,
            "store_available_bytes": self.room.available,
            "changes_waiting": self._store.waiting,
            "disk_refuses": float(self._store.refusal is not None),
            "disk_full": float(self._store.shedding),
        }
