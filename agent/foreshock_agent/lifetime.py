"""The life of an agent's process: one service after another, should its database be damaged."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import DiskIsBackError, StoreDamagedError, corruption_told
from foreshock_agent.damage.opening import mark_damaged
from foreshock_agent.service import Service
from foreshock_agent.store.stand_in import Carried, writable

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_agent.asks import Asks
    from foreshock_agent.notify import Supervisor
    from foreshock_agent.settings import Settings

log = logging.getLogger(__name__)

CALM_S: Final = 30.0
"""A database that is damaged again sooner than this ends the process: the disk is failing, and how
often to try is for whoever starts the process."""


def run_agent(
    load: Callable[[], Settings], version: str, asks: Asks, supervisor: Supervisor
) -> None:
    """Run the agent until it is asked to stop; with a fresh database after one that is damaged.

    Raises:
        StoreDamagedError: twice within `CALM_S`.
    """
    damaged_s, carried = float("-inf"), Carried()
    while True:
        with writable(load) as place:
            database = place.load().database
            try:
                with corruption_told():
                    Service(place, version, carried).run(asks, supervisor)
            except DiskIsBackError as back:
                log.warning("%s", back)
                carried = Carried.of(database)
            except StoreDamagedError as damage:
                mark_damaged(database, str(damage))
                before_s, damaged_s = damaged_s, time.monotonic()
                if damaged_s - before_s < CALM_S:
                    raise
            else:
                return
