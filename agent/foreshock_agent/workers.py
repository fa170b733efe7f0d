"""Threads of a service: one that fails ends all, and the process with them (crash-only)."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foreshock_agent.asks import Ask
from foreshock_agent.damage.errors import BeginAnewError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreshock_agent.asks import Asks

log = logging.getLogger(__name__)


@contextmanager
def worker(
    name: str,
    work: Callable[[threading.Event], None],
    asks: Asks,
    failures: list[BaseException],
) -> Iterator[None]:
    """Run `work` in a thread that has its own end; if it fails, the process is told to stop."""
    ending = threading.Event()
    thread = threading.Thread(
        target=_guarded, args=(lambda: work(ending), asks, failures), name=name, daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _guarded(work: Callable[[], None], asks: Asks, failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        if not isinstance(error, BeginAnewError):
            log.exception("a worker failed: the process ends, and its next start recovers")
        first = not failures
        failures.append(error)
        if first:
            asks.post(Ask.STOP)
