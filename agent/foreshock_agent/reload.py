"""Which changed settings a running agent takes over, and what it says of it; pure rules.

A file that cannot be used changes nothing: the last good settings go on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from foreshock_agent.settings import Settings, SettingsError, faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LIVE: Final = frozenset(
    {
        "alarms",
        "commit",
        "health.stalled_s",
        "limits",
        "max_ahead_s",
        "retention",
        "sources",
        "uplink.batch_records",
        "uplink.resend_max_s",
        "uplink.resend_s",
        "windows",
    }
)
"""What takes effect between two commits; whatever is not named here needs a restart."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload comes to: the settings to run with from now on, and the entries by name."""

    settings: Settings
    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last reload went; `problem` says why the file was refused, if it was."""

    at_ns: int
    problem: str = ""
    applied: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.problem:
            return f"refused, the last good ones run: {self.problem}"
        said = f"reloaded: {', '.join(self.applied) or 'nothing changed that can be'}"
        rest = f"; needs a restart: {', '.join(self.needs_restart)}" if self.needs_restart else ""
        return said + rest


def plan(running: Settings, wanted: Settings) -> Change:
    """Say what of the wanted settings a running agent takes over, and what waits for a restart.

    Raises:
        SettingsError: what can be taken over does not go with what stays.
    """
    changed = list(_changed(running, wanted))
    applied = tuple(name for name in changed if _is_live(name))
    entries = running.model_dump()
    wanted_entries = wanted.model_dump()
    for name in applied:
        section, _, entry = name.partition(".")
        if entry:
            entries[section][entry] = wanted_entries[section][entry]
        else:
            entries[section] = wanted_entries[section]
    try:
        settings = Settings.model_validate(entries)
    except ValidationError as error:
        text = "\n".join(["settings: what changed needs a restart as a whole:", *faults_of(error)])
        raise SettingsError(text) from None
    return Change(settings, applied, tuple(name for name in changed if name not in applied))


def _is_live(name: str) -> bool:
    return name in LIVE or name.partition(".")[0] in LIVE


def _changed(running: Settings, wanted: Settings) -> Iterator[str]:
    """Yield the names of entries that differ: `sources`, `local.port`."""
    for name in Settings.model_fields:
        before, after = getattr(running, name), getattr(wanted, name)
        if before == after:
            continue
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            for entry in type(before).model_fields:
                if getattr(before, entry) != getattr(after, entry):
                    yield f"{name}.{entry}"
        else:
            yield name
