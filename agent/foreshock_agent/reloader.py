"""Settings read again while the agent runs, and the outcome where a person and a scraper look."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from foreshock_agent.reload import Outcome, plan
from foreshock_wire.errors import ForeshockError
from foreshock_wire.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_agent.settings import Settings

log = logging.getLogger(__name__)


class Reloader:
    """Holds the settings that run; `use` takes others over or raises, and then nothing changed."""

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        use: Callable[[Settings], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.settings = settings
        self._load, self._use, self._now_ns = load, use, now_ns
        self._outcome = Outcome(now_ns())

    def begin(self) -> None:
        """A process that starts has read its file: what was said of an earlier one is over."""
        self.settings.last_reload.unlink(missing_ok=True)

    def reload(self) -> None:
        """Read the settings again; what cannot be used is refused whole, and said why."""
        outcome = self._outcome = self._tried()
        log.log(logging.ERROR if outcome.problem else logging.WARNING, "settings %s", outcome)
        try:
            write_durably(self.settings.last_reload, json.dumps(outcome.as_dict()).encode())
        except OSError as error:
            log.warning("%s: %s", self.settings.last_reload, error.strerror)

    def _tried(self) -> Outcome:
        try:
            change = plan(self.settings, self._load())
            if change.applied:
                self._use(change.settings)
        except ForeshockError as error:
            return Outcome(self._now_ns(), problem=str(error))
        self.settings = change.settings
        return Outcome(self._now_ns(), "", change.applied, change.needs_restart)

    @property
    def note(self) -> str:
        """What systemd's status line says of it."""
        return f"settings refused: {self._outcome.problem}" if self._outcome.problem else ""

    def gauges(self) -> dict[str, float]:
        """Return what a scraper is shown."""
        return {
            "settings_refused": float(bool(self._outcome.problem)),
            "settings_need_restart": len(self._outcome.needs_restart),
        }


def last_outcome(path: Path) -> Outcome | None:
    """Return how the last reload of the running agent went; None if there was none to read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Outcome(**said)
