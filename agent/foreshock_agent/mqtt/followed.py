"""The topics that our session at the local broker may hold: all that were ever subscribed to.

Such a session outlives settings. What a source subscribed to that is gone would come for ever, so
it is taken back at each connect; taking back what is not there costs nothing. The file only grows,
and before anything is subscribed to: a kill at any moment leaves no topic that nobody knows of.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from foreshock_wire.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


class Followed:
    """The file of all topics that were ever followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.filters = _read(path)

    def add(self, filters: Sequence[str]) -> None:
        """Note topics before they are subscribed to."""
        known = sorted(set(self.filters) | set(filters))
        if known == self.filters:
            return
        self.filters = known
        try:
            write_durably(self._path, json.dumps(known).encode())
        except OSError as error:
            log.warning("%s: %s; a source that goes may go on being heard", self._path, error)


def _read(path: Path) -> list[str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return sorted(one for one in known if isinstance(one, str)) if isinstance(known, list) else []
