"""A sensor at rest sends the same payload again and again: packet ids tell copies from news.

Also when the broker fell back to an older save, and hands out ids a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_agent.items import SessionBegan
from foreshock_agent.mqtt.link import Delivery
from tests.agent.rig import Bench

if TYPE_CHECKING:
    from pathlib import Path


class Gateway:
    """A bench that meets one connection after the other; it can be killed in between."""

    def __init__(self, folder: Path, *, killed: bool) -> None:
        self._folder, self._killed = folder, killed
        self._bench = Bench(folder)
        self._connection = 0

    def hear(self, *messages: tuple[int, bool]) -> None:
        """Take (packet id, DUP) messages of a new connection to the same session, and commit."""
        if self._killed:
            self._bench.close()
            self._bench = Bench(self._folder)
        self._connection += 1
        self._bench.step(SessionBegan(session_present=True))
        for packet_id, dup in messages:
            self._bench.clock.utc_ns += 1_000_000 * self._connection
            self._bench.step(
                Delivery("plain/pump-1/pressure", b"7", packet_id, 1, dup, self._connection)
            )
        self._bench.commit()

    def counts(self) -> tuple[int, int]:
        """Return how many were stored, and how many were known as copies; leave."""
        accounts = self._bench.store.accounts.snapshot()
        self._bench.close()
        return accounts["readings.stored"], accounts.get("messages.duplicate", 0)


@pytest.mark.parametrize("killed", [False, True])
def test_an_id_that_runs_again_hides_no_message(tmp_path: Path, *, killed: bool) -> None:
    gateway = Gateway(tmp_path, killed=killed)
    gateway.hear((1, False), (2, False), (3, False))
    gateway.hear((1, True), (2, False))  # its save was made when 1 was under way: 2 is a new one
    gateway.hear((2, True), (3, True), (4, False))  # 3 never came before it was sent again
    assert gateway.counts() == (3 + 1 + 2, 2)


@pytest.mark.parametrize("killed", [False, True])
def test_a_copy_is_known_on_every_connection_until_it_is_settled(
    tmp_path: Path, *, killed: bool
) -> None:
    gateway = Gateway(tmp_path, killed=killed)
    gateway.hear((1, False), (2, False))
    gateway.hear((1, True), (2, True), (3, False))
    gateway.hear((1, True))  # broken off before the others were sent again
    gateway.hear((1, True), (2, True), (3, True), (4, False))
    assert gateway.counts() == (4, 2 + 1 + 3)
