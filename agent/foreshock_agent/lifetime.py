"""The life of an agent's process: one service after another, should its database be damaged."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import DiskIsBackError, StoreDamagedError, corruption_told
from foreshock_agent.damage.opening import mark_damaged
from foreshock_agent.service import Service
from foreshock_agent.settings import SettingsError
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


class _Settings:
    """Reads settings and remembers the last good ones."""

    def __init__(self, load: Callable[[], Settings]) -> None:
        self._load = load
        self._last: Settings | None = None

    def read(self) -> Settings:
        """Read them.

        Raises:
            SettingsError: they cannot be used.
        """
        self._last = self._load()
        return self._last

    def at_hand(self) -> Settings:
        """Read them, or go on with the last good ones.

        Raises:
            SettingsError: there are none.
        """
        try:
            return self.read()
        except SettingsError as error:
            if self._last is None:
                raise
            log.error("%s\nthe last good settings run on", error)  # noqa: TRY400
            return self._last


def run_agent(
    load: Callable[[], Settings], version: str, asks: Asks, supervisor: Supervisor
) -> None:
    """Run the agent until it is asked to stop; with a fresh database after one that is damaged.

    A settings file that was spoiled since it was read does not end it: what it read last goes on.

    Raises:
        SettingsError: there is no file to begin with that can be used.
        StoreDamagedError: twice within `CALM_S`.
    """
    settings = _Settings(load)
    damaged_s, carried = float("-inf"), Carried()
    while True:
        with writable(settings.at_hand(), settings.read) as place:
            database = place.settings.database
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
