"""A signal is heard whenever it comes, in whichever thread: between a look and a wait too."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Final

import pytest

from foreshock_agent.asks import Ask, Asks

if TYPE_CHECKING:
    from collections.abc import Iterator

HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def asks() -> Iterator[Asks]:
    before = {number: signal.getsignal(number) for number in HEARD}
    heard = Asks()
    heard.hear_signals()
    yield heard
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    heard.close()


def test_each_of_many_signals_is_heard(asks: Asks) -> None:
    """Each is sent when the one before was heard, by a thread that knows nothing of the wait."""
    turn = threading.Semaphore(0)

    def send() -> None:
        for _ in range(1000):
            turn.acquire()
            os.kill(os.getpid(), signal.SIGHUP)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for _ in range(1000):
        turn.release()
        assert awaited(asks) is Ask.RELOAD
    sender.join()


def awaited(asks: Asks) -> Ask | None:
    """Wait as the service does: for nothing, without end, until something is asked."""
    for _ in range(10):
        if (ask := asks.next(30.0)) is not None:
            return ask
    return None


def test_asks_come_in_their_order_and_none_is_dropped_when_many_come_at_once(asks: Asks) -> None:
    for _ in range(100_000):
        asks.post(Ask.RELOAD)
    os.kill(os.getpid(), signal.SIGTERM)
    heard = [asks.next(30.0) for _ in range(100_001)]
    assert heard == [Ask.RELOAD] * 100_000 + [Ask.STOP]
    assert asks.next(0.0) is None
