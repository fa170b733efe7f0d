"""Values deep inside a JSON text, each found by its path: `paths.temperature = "data.0.temp"`.

A path is names and list positions with dots between them; `time_key` is one, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from foreshock_agent.sources.base import RejectedMessageError, load_json, number
from foreshock_rules.readings import Rejected

if TYPE_CHECKING:
    from foreshock_agent.intake.columns import Columns
    from foreshock_agent.sources.base import TopicMatch

_NOTHING: Final = object()


def decode(match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:
    """Take one reading a path that leads somewhere; what is no number becomes a NaN reading.

    Raises:
        RejectedMessageError: not JSON, no usable time, or no path leads anywhere.
    """
    body = load_json(payload)
    key = match.settings.time_key
    raw_time = _NOTHING if key is None else _at(body, key)
    own_time = raw_time is not _NOTHING
    time_ns = match.time_ns(raw_time) if own_time else received_ns
    found = {channel: _at(body, path) for channel, path in match.settings.paths.items()}
    row = {name: number(raw) for name, raw in found.items() if raw is not _NOTHING}
    if not row:
        raise RejectedMessageError(Rejected.MALFORMED, "none of the paths leads to a value")
    into.add_row(match.tracks, time_ns, row)
    return own_time


def _at(body: Any, path: str) -> Any:  # noqa: ANN401 - JSON
    for step in path.split("."):
        if isinstance(body, dict) and step in body:
            body = body[step]
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            return _NOTHING
    return body
