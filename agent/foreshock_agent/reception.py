"""Sensor messages become stored readings: decode, refuse, know copies again, count.

Whole batches go through at once; nothing here is done for a single reading. The accounts hold for
every message and every reading that came: stored, duplicate, or rejected with a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foreshock_agent.chunks import Rows
from foreshock_agent.clock import is_trusted
from foreshock_agent.columns import OK, REASONS, Columns
from foreshock_agent.scoring import SECOND_NS, due_of
from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import future_from_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_agent.columns import Arrivals
    from foreshock_agent.intake import IntakeIdentity
    from foreshock_agent.link import Delivery
    from foreshock_agent.machines import Machines
    from foreshock_agent.scoring import Due
    from foreshock_agent.sources import Sources
    from foreshock_agent.store import Store

    Int64 = npt.NDArray[np.int64]


class Decoded(NamedTuple):
    """The messages of a batch that hold readings, when each came (UTC, ns), and the readings."""

    messages: list[Delivery]
    received_ns: Int64
    arrivals: Arrivals


class Reception:
    """Takes the sensor messages of one gateway."""

    def __init__(
        self,
        sources: Sources,
        store: Store,
        machines: Machines,
        identity: IntakeIdentity,
        max_ahead_s: float,
    ) -> None:
        self._sources = sources
        self._store = store
        self._machines = machines
        self._identity = identity
        self._max_ahead_ns = round(max_ahead_s * SECOND_NS)

    def use(self, sources: Sources, max_ahead_s: float) -> None:
        """Read messages by other settings from now on; the sources go on with the same tracks."""
        self._sources = sources
        self._max_ahead_ns = round(max_ahead_s * SECOND_NS)

    def take(self, messages: Sequence[Delivery], now_ns: int) -> list[Due]:
        """Take messages in order of arrival; return the windows that became due."""
        decoded = self._decoded(messages, now_ns)
        if not len(decoded.arrivals.track):
            return []
        problem = decoded.arrivals.problems()
        good = problem == OK
        rows = _rows(decoded).at(good)
        from_ns = future_from_ns(now_ns, self._max_ahead_ns, clock_trusted=is_trusted(now_ns))
        new, due = self._machines.take(rows, rows.time_ns >= from_ns)
        stored = good.copy()
        stored[good] = new
        self._count_readings(problem, int(np.count_nonzero(new)))
        self._count_messages(decoded, problem, stored)
        return due_of(due, self._machines.tracks.machines, rows.received_ns[new])

    def _decoded(self, messages: Sequence[Delivery], now_ns: int) -> Decoded:
        """Decode all that can be; each message has its own nanosecond of arrival."""
        columns = Columns()
        held: list[Delivery] = []
        received: list[int] = []
        before = self._store.accounts["messages.received"]
        self._count("messages.received", len(messages))
        for nth, message in enumerate(messages, start=1):
            received_ns = now_ns + nth - 1
            if self._decode(message, before + nth, received_ns, columns):
                columns.end_message()
                held.append(message)
                received.append(received_ns)
        return Decoded(held, np.array(received, np.int64), columns.arrivals())

    def _decode(self, message: Delivery, number: int, received_ns: int, columns: Columns) -> bool:
        if self._identity.is_redelivered(message, number):
            self._count("messages.duplicate")
            return False
        try:
            own_time = self._sources.decode(message.topic, message.payload, received_ns, columns)
        except RejectedMessageError as error:
            self._store.quarantine(message.topic, message.payload, error.reason, received_ns)
            self._count(f"messages.rejected.{error.reason}")
            return False
        if not own_time:
            self._identity.remember(message, number)
        return True

    def _count(self, name: str, count: int = 1) -> None:
        self._store.accounts.add(name, count)

    def _count_readings(self, problem: npt.NDArray[np.int8], stored: int) -> None:
        refused = np.bincount(problem[problem != OK], minlength=len(REASONS)).tolist()
        self._count("readings.received", len(problem))
        self._count("readings.stored", stored)
        self._count("readings.duplicate", len(problem) - sum(refused) - stored)
        for reason, count in zip(REASONS, refused, strict=True):
            self._count(f"readings.rejected.{reason}", count)

    def _count_messages(
        self, decoded: Decoded, problem: npt.NDArray[np.int8], stored: npt.NDArray[np.bool_]
    ) -> None:
        """Every message is one thing: stored if any reading was new, else duplicate or rejected."""
        message, count = decoded.arrivals.message, len(decoded.messages)
        stored_in = np.bincount(message[stored], minlength=count)
        good_in = np.bincount(message[problem == OK], minlength=count)
        with_problem, first = np.unique(message[problem != OK], return_index=True)
        reasons = problem[problem != OK][first]
        for at, reason in zip(with_problem.tolist(), reasons.tolist(), strict=True):
            one, received_ns = decoded.messages[at], int(decoded.received_ns[at])
            self._store.quarantine(one.topic, one.payload, REASONS[reason], received_ns)
            if not good_in[at]:
                self._count(f"messages.rejected.{REASONS[reason]}")
        self._count("messages.stored", int(np.count_nonzero(stored_in)))
        self._count("messages.duplicate", int(np.count_nonzero((stored_in == 0) & (good_in > 0))))


def _rows(decoded: Decoded) -> Rows:
    track, time_ns, value, message = decoded.arrivals
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused
        value32 = value.astype(np.float32)
    flags = np.zeros(len(track), np.uint8)
    return Rows(track, time_ns, decoded.received_ns[message], value32, flags)
