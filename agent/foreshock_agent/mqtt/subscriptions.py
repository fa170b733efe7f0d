"""Which topics a link listens to, through all its connections; no thread and no socket.

A session that persists at the broker keeps every filter that nobody takes back, so one that was
left while the broker was away is taken back on each later connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Asked(NamedTuple):
    """What to subscribe to, and what to unsubscribe from."""

    wanted: list[str]
    left: list[str]


class Subscriptions:
    """The filters of one link, and what the broker has not answered yet; the link locks it."""

    def __init__(self, filters: Sequence[str]) -> None:
        self._filters, self._left = list(filters), set[str]()
        self._asked: dict[int, list[str]] = {}

    def follow(self, filters: Sequence[str]) -> Asked:
        """Listen to these from now on; return what this changes on the present connection."""
        before, self._filters = set(self._filters), list(filters)
        self._left = (self._left | before) - set(filters)
        wanted = [one for one in filters if one not in before]
        return Asked(wanted, sorted(before - set(filters)))

    def anew(self) -> Asked:
        """Return what to ask for on a new connection."""
        self._asked.clear()
        return Asked(list(self._filters), sorted(self._left))

    def asked(self, packet_id: int, wanted: Sequence[str]) -> None:
        """Remember under which id filters were asked for."""
        self._asked[packet_id] = list(wanted)

    def refused(self, packet_id: int, refusals: Iterable[bool]) -> list[str]:
        """Take the broker's answer; return the filters that it did not grant."""
        asked = self._asked.pop(packet_id, [])
        return [one for one, no in zip(asked, refusals, strict=False) if no]
