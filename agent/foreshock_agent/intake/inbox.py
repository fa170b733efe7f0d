"""The queue in front of the pipeline: bounded in items and in bytes, handed over in bulk."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

ITEMS: Final = 4_000
BYTES: Final = 1 << 20
"""What may wait; beyond it `post` blocks, which holds the broker's socket back."""

BATCH_ITEMS: Final = 1_000
BATCH_BYTES: Final = 128 << 10
"""What one `take` hands over: enough to share the cost of a step, little enough to stay quick."""


class Inbox(Generic[T]):
    """Many threads post, one takes; `size` says how many bytes an item holds.

    `handed_bytes` is what was taken so far.
    """

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._bytes = 0
        self.handed_bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether nobody takes any more."""
        return self._closed

    def post(self, items: Sequence[T], timeout_s: float | None = None) -> bool:
        """Hand items over, as soon as there is room; false if there was none in time.

        Once the inbox is closed they are dropped.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout_s):
                return False
            if not self._closed:
                self._items.extend(items)
                self._bytes += sum(map(self._size, items))
                self._changed.notify_all()
            return True

    def _has_room(self) -> bool:
        return self._closed or (len(self._items) < ITEMS and self._bytes < BYTES)

    def take(self, timeout_s: float) -> list[T]:
        """Return a batch in order; an empty one when nothing came in time."""
        taken: list[T] = []
        with self._changed:
            self._changed.wait_for(lambda: self._items, timeout_s)
            size = 0
            while self._items and len(taken) < BATCH_ITEMS and size < BATCH_BYTES:
                taken.append(self._items.popleft())
                size += self._size(taken[-1])
            self._bytes -= size
            self.handed_bytes += size
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Nobody takes any more: let everybody go who waits."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
