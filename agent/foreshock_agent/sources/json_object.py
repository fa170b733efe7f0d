"""One JSON object a message: `{"t": 1704067200000000000, "temperature": 61.2, …}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.sources.base import RejectedMessageError, load_json, row_of
from foreshock_rules.readings import Rejected

if TYPE_CHECKING:
    from foreshock_agent.intake.columns import Columns
    from foreshock_agent.sources.base import TopicMatch


def decode(match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:
    """Take one reading a numeric field; a field that is no number becomes a NaN reading.

    Raises:
        RejectedMessageError: no JSON object, no usable time, or no field at all.
    """
    body = load_json(payload)
    if not isinstance(body, dict):
        raise RejectedMessageError(Rejected.MALFORMED, "not a JSON object")
    key = match.settings.time_key
    own_time = key is not None and key in body
    time_ns = match.time_ns(body.pop(key)) if own_time else received_ns
    row = row_of(match, body)
    if not row:
        raise RejectedMessageError(Rejected.MALFORMED, "the object holds no channel")
    into.add_row(match.tracks, time_ns, row)
    return own_time
