"""The accounts: what came in, and what became of it; saved in the same transaction as the data.

The law, for messages and for readings:

    received = stored + duplicate + rejected(reasons)
    stored   = delivered + pending + dropped(reasons)      (readings only)
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DISK_FULL: Final = "disk_full"
"""The reason of what was rejected because no disk would take it."""

DAMAGES: Final = "store.damaged"
"""The account of how often the database was put aside, over all starts."""


class Accounts:
    """Counters by name, `unit.what` or `unit.rejected.reason`."""

    def __init__(self, saved: Mapping[str, int] | None = None) -> None:
        self._values = dict(saved or {})
        self._changed: set[str] = set()
        self._muted = False

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        if count and not self._muted:
            self._values[name] = self._values.get(name, 0) + count
            self._changed.add(name)

    def __getitem__(self, name: str) -> int:
        return self._values.get(name, 0)

    def changed(self) -> list[tuple[str, int]]:
        """Return what changed since the last call, with its new value."""
        found = [(name, self._values[name]) for name in sorted(self._changed)]
        self._changed.clear()
        return found

    def touch(self) -> None:
        """Let all counters count as changed: what was saved last is not there any more."""
        self._changed.update(self._values)

    @contextmanager
    def muted(self, counted_before: bool) -> Iterator[None]:  # noqa: FBT001 - says it by itself
        """Count nothing if what happens inside was counted before."""
        self._muted = counted_before
        try:
            yield
        finally:
            self._muted = False

    def snapshot(self) -> dict[str, int]:
        """Return all counters."""
        return dict(self._values)


def total(accounts: Mapping[str, int], prefix: str) -> int:
    """Return a counter, or the sum of the counters below it (`readings.rejected`)."""
    below = prefix + "."
    return sum(n for name, n in accounts.items() if name == prefix or name.startswith(below))


def lost(accounts: Mapping[str, int]) -> dict[str, int]:
    """Return the counters of what damage, a full disk and the store's bounds have cost."""
    return {
        name: count
        for name, count in sorted(accounts.items())
        if count > 0
        and (name == DAMAGES or ".dropped." in name or name.endswith(f".rejected.{DISK_FULL}"))
    }


def broken_laws(accounts: Mapping[str, int], pending_readings: int) -> list[str]:
    """Return each law that does not hold, with its figures; an empty list when all do."""
    broken = []
    for unit in ("messages", "readings"):
        received, stored, duplicate, rejected = (
            total(accounts, f"{unit}.{part}")
            for part in ("received", "stored", "duplicate", "rejected")
        )
        if received != stored + duplicate + rejected:
            broken.append(
                f"{unit}: received {received} != stored {stored} + duplicate {duplicate} "
                f"+ rejected {rejected}"
            )
    stored, delivered, dropped = (
        total(accounts, f"readings.{part}") for part in ("stored", "delivered", "dropped")
    )
    if stored != delivered + pending_readings + dropped:
        broken.append(
            f"readings: stored {stored} != delivered {delivered} + pending {pending_readings} "
            f"+ dropped {dropped}"
        )
    return broken
