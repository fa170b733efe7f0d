"""One JSON object a message: `{"t": 1704067200000000000, "temperature": 61.2, …}`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import Reading, Rejected

if TYPE_CHECKING:
    from foreshock_agent.sources.base import TopicMatch


def decode(match: TopicMatch, payload: bytes, received_ns: int) -> list[Reading]:
    """Return one reading a numeric field; a field that is no number becomes a NaN reading.

    Raises:
        RejectedMessageError: no JSON object, no usable time, or no field at all.
    """
    body = _object(payload)
    key = match.settings.time_key
    own_time = key is not None and key in body
    time_ns = match.time_ns(body.pop(key)) if own_time else received_ns
    wanted = match.settings.channels or tuple(body)
    readings = [
        Reading(match.machine, name, time_ns, _number(body[name]), own_time)
        for name in wanted
        if name in body
    ]
    if not readings:
        raise RejectedMessageError(Rejected.MALFORMED, "the object holds no channel")
    return readings


def _object(payload: bytes) -> dict[Any, Any]:
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise RejectedMessageError(Rejected.MALFORMED, f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RejectedMessageError(Rejected.MALFORMED, "not a JSON object")
    return body


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return math.nan
    try:
        return float(raw)
    except OverflowError:
        return math.inf
