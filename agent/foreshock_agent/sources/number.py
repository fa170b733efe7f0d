"""A plain number a message; the machine and the channel stand in the topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import Rejected

if TYPE_CHECKING:
    from foreshock_agent.intake.columns import Columns
    from foreshock_agent.sources.base import TopicMatch


def decode(match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:
    """Take the one reading of a message, stamped with its arrival.

    Raises:
        RejectedMessageError: the payload is no number, or the topic pattern names no channel.
    """
    if match.channel is None:
        raise RejectedMessageError(Rejected.MALFORMED, "the topic pattern has no {channel}")
    try:
        value = float(payload)
    except ValueError:
        raise RejectedMessageError(Rejected.MALFORMED, f"{payload[:40]!r} is no number") from None
    into.add(match.tracks[match.channel], received_ns, value)
    return False
