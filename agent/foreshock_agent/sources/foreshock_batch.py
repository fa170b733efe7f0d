"""A Foreshock telemetry batch: readings as compressed binary columns (`foreshock_wire.batch`).

The batch speaks of the machine that the topic names and of no other. Its epoch, seqs, arrival times
and flags are the sender's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import Rejected
from foreshock_wire.batch import Readings
from foreshock_wire.batch import decode as unpack
from foreshock_wire.errors import BatchError

if TYPE_CHECKING:
    from foreshock_agent.intake.columns import Columns
    from foreshock_agent.sources.base import TopicMatch


def decode(match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:  # noqa: ARG001 - an adapter's shape
    """Take every reading of a batch.

    Raises:
        RejectedMessageError: damaged, or it speaks of another machine than the topic does.
    """
    try:
        batch = unpack(payload, Readings)
    except BatchError as error:
        raise RejectedMessageError(Rejected.MALFORMED, str(error)) from None
    if list(batch.machines) != [match.machine]:
        raise RejectedMessageError(
            Rejected.INVALID_ID, f"the topic says {match.machine!r}, the batch {batch.machines!r}"
        )
    into.add_block(match.all_tracks.numbers(batch), batch.time_ns, batch.value.astype(np.float64))
    return True
