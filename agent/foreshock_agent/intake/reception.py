"""Sensor messages become stored readings: decode, refuse, know copies again, count.

Whole batches go through at once; nothing but decoding is done for a single reading. So messages are
decoded as they come, and brought to the machines together: many of them, or all so far as soon as
one may end a window. The accounts hold for every message and every reading that was brought there:
stored, duplicate, or rejected with a reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from foreshock_agent.clock import PLAUSIBLE_NS
from foreshock_agent.intake.columns import OK, REASONS, Columns
from foreshock_agent.intake.identity import taken
from foreshock_agent.judging.scoring import SECOND_NS, due_of
from foreshock_agent.sources.base import RejectedMessageError
from foreshock_agent.store.chunks import Rows
from foreshock_rules.readings import future_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_agent.intake.columns import Arrivals
    from foreshock_agent.intake.identity import IntakeIdentity
    from foreshock_agent.judging.machines import Machines
    from foreshock_agent.judging.scoring import Due
    from foreshock_agent.mqtt.link import Delivery
    from foreshock_agent.sources import Sources
    from foreshock_agent.store.store import Store

    Int64 = npt.NDArray[np.int64]


ENOUGH: Final = 256
"""Readings that are worth the way to the machines by themselves: it costs as much for one."""


class Decoded(NamedTuple):
    """The messages that hold readings, when each came (UTC, ns), and the readings."""

    messages: list[Delivery]
    received_ns: Int64
    arrivals: Arrivals


@dataclass(slots=True)
class Gathered:
    """What came since the last `settle`: how many messages, and those that hold readings.

    `counts` is what the accounts will be told of the others.
    """

    came: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    messages: list[Delivery] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    columns: Columns = field(default_factory=Columns)


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
        self._gathered = Gathered()

    def use(self, sources: Sources, max_ahead_s: float) -> None:
        """Read messages by other settings from now on; the sources go on with the same tracks."""
        self._sources = sources
        self._max_ahead_ns = round(max_ahead_s * SECOND_NS)

    def gather(self, messages: Sequence[Delivery], now_ns: int) -> bool:
        """Decode messages in order of arrival; return whether `settle` should not wait for more.

        Each message has its own nanosecond of arrival.
        """
        gathered = self._gathered
        before = taken(self._store.accounts) + gathered.came
        gathered.came += len(messages)
        for nth, message in enumerate(messages, start=1):
            self._decode(message, before + nth, now_ns + nth - 1, gathered)
        if len(gathered.columns) >= ENOUGH:
            return True
        return any(map(self._machines.may_make_due, gathered.columns.fresh()))

    def settle(self) -> list[Due]:
        """Bring to the machines what was gathered; return the windows that became due."""
        gathered, self._gathered = self._gathered, Gathered()
        self._count("messages.received", gathered.came)
        for name, count in gathered.counts.items():
            self._count(name, count)
        return self._received(_decoded(gathered)) if len(gathered.columns) else []

    def _received(self, decoded: Decoded) -> list[Due]:
        problem = decoded.arrivals.problems()
        good = problem == OK
        rows = _rows(decoded).at(good)
        future = future_of(rows.time_ns, rows.received_ns, self._max_ahead_ns, PLAUSIBLE_NS)
        new, due = self._machines.take(rows, future)
        stored = good.copy()
        stored[good] = new
        self._count_readings(problem, int(np.count_nonzero(new)))
        self._count_messages(decoded, problem, stored)
        return due_of(due, self._machines.tracks.machines, rows.received_ns[new])

    def _decode(self, message: Delivery, number: int, received_ns: int, into: Gathered) -> None:
        if self._identity.is_redelivered(message, number):
            into.counts["messages.duplicate"] += 1
            return
        topic, payload = message.topic, message.payload
        try:
            own_time = self._sources.decode(topic, payload, received_ns, into.columns)
        except RejectedMessageError as error:
            self._store.quarantine(topic, payload, error.reason, received_ns)
            into.counts[f"messages.rejected.{error.reason}"] += 1
            return
        into.columns.end_message()
        into.messages.append(message)
        into.received_ns.append(received_ns)
        if not own_time:
            self._identity.remember(message, number)

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


def _decoded(gathered: Gathered) -> Decoded:
    received_ns = np.array(gathered.received_ns, np.int64)
    return Decoded(gathered.messages, received_ns, gathered.columns.arrivals())


def _rows(decoded: Decoded) -> Rows:
    track, time_ns, value, message = decoded.arrivals
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused
        value32 = value.astype(np.float32)
    flags = np.zeros(len(track), np.uint8)
    return Rows(track, time_ns, decoded.received_ns[message], value32, flags)
