"""Store and forward: what is committed goes up, and stays here until the lake has it.

One parcel per stream is under way at a time; it is sent again until the lake acknowledges it, so
the broker in between may lose whatever it likes. Streams with higher priority are served first, and
what is new goes up in the order in which it happened, epoch by epoch. When it may go up is decided
in `budget.py` (bytes a day) and `pace.py` (bytes a second, and no stampede).
"""

from __future__ import annotations

import logging
import random
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import UnreadableError
from foreshock_agent.damage.mender import condemn
from foreshock_agent.items import LakeAcked, StoreTask
from foreshock_agent.uplink.pace import Pace, longest_wait_s
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import UpAck
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_agent.clock import Clock
    from foreshock_agent.settings import UplinkSettings
    from foreshock_agent.uplink.budget import DayBudget
    from foreshock_agent.uplink.outbox import Outbox, Parcel
    from foreshock_wire.topics import Gateway

log = logging.getLogger(__name__)

IDLE_S: Final = 0.5
"""How long the uplink sleeps when nothing wakes it."""

BULK: Final = (Stream.SCORES, Stream.READINGS)
"""What a backlog is made of; everything else is small, and goes up at once."""

FRAME_BYTES: Final = 16
"""What MQTT and TCP add to a topic and a payload, about."""

PATIENCE: Final = 3
"""Refusals in a row after which a stream waits, and then sends again what was delivered: the lake
asks for what only a restored one lacks, and asking each other at full speed helps nobody."""


@dataclass(slots=True)
class UnderWay:
    """A parcel that was sent and is not yet acknowledged."""

    parcel: Parcel
    resend_at_s: float
    tries: int


class Uplink:
    """The thread that empties the outbox; `publish(topic, payload)` says whether it was sent."""

    def __init__(
        self,
        at: Gateway,
        settings: UplinkSettings,
        *,
        outbox: Callable[[], Outbox],
        publish: Callable[[str, bytes], bool],
        post: Callable[[LakeAcked | StoreTask], None],
        clock: Clock,
        budget: DayBudget,
    ) -> None:
        self._at = at
        self._settings = settings
        self._open_outbox = outbox
        self._publish = publish
        self._post = post
        self._clock = clock
        self._budget = budget
        self._pace = Pace(settings.max_bytes_per_s)
        self._heard_s = clock.monotonic_s()
        self._under_way: dict[Stream, UnderWay] = {}
        self._marks: dict[Stream, dict[str, int]] = {stream: {} for stream in Stream}
        self._sent: dict[Stream, dict[str, int]] = {stream: {} for stream in Stream}
        self._refusals = dict.fromkeys(Stream, 0)
        self._again: dict[Stream, set[str]] = {stream: set() for stream in Stream}
        self._not_before_s = dict.fromkeys(Stream, 0.0)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.moved_s = clock.monotonic_s()

    def use(self, settings: UplinkSettings) -> None:
        """Send by other settings from the next parcel on."""
        self._settings = settings

    def wake(self) -> None:
        """Something was committed or acknowledged: look at once."""
        self._wake.set()

    def reconnected(self) -> None:
        """What was under way may be lost: send it again soon, after a jittered pause.

        The backlog waits the longer, the longer the broker was away.
        """
        now_s = self._clock.monotonic_s()
        bulk_s = now_s + random.uniform(0, longest_wait_s(now_s - self._heard_s))  # noqa: S311
        with self._lock:
            for under_way in self._under_way.values():
                under_way.tries = 0
                under_way.resend_at_s = now_s + random.uniform(0, 0.5)  # noqa: S311
            for stream in BULK:
                self._not_before_s[stream] = max(self._not_before_s[stream], bulk_s)
        self.wake()

    def on_ack(self, payload: bytes) -> None:
        """Take the lake's answer; runs in the connection's thread.

        It acknowledges nothing that this process has not sent. A lake that holds more, of a start
        before this one, says so again when it gets that again.
        """
        try:
            ack = UpAck.from_bytes(payload)
            stream = Stream(ack.stream)
        except (ForeshockError, ValueError) as error:
            log.warning("ack refused: %s", error)
            return
        with self._lock:
            sent = self._sent[stream].get(ack.epoch)
            if sent is None:
                return
            believed = ack.model_copy(update={"seq": min(ack.seq, sent)})
            self._settle(stream, believed)
        self._post(LakeAcked(ack.epoch, stream, believed.seq, said=ack.seq))
        self.wake()

    def _settle(self, stream: Stream, ack: UpAck) -> None:
        marks = self._marks[stream]
        refused = ack.expected is not None
        self._count_refusal(stream, ack, refused=refused)
        marks[ack.epoch] = ack.seq if refused else max(ack.seq, marks.get(ack.epoch, 0))
        under_way = self._under_way.get(stream)
        if under_way is None or under_way.parcel.epoch != ack.epoch:
            return
        # A lake that asks for what is on its way already gives an old answer, or one to a repeat.
        asks_for_earlier = refused and under_way.parcel.first_seq > ack.seq + 1
        if asks_for_earlier or ack.seq >= under_way.parcel.last_seq:
            del self._under_way[stream]

    def _count_refusal(self, stream: Stream, ack: UpAck, *, refused: bool) -> None:
        self._refusals[stream] = self._refusals[stream] + 1 if refused else 0
        beyond = self._refusals[stream] - PATIENCE
        if beyond <= 0:
            return
        pause_s = min(self._settings.resend_s * 2 ** min(beyond, 16), self._settings.resend_max_s)
        self._not_before_s[stream] = self._clock.monotonic_s() + pause_s
        if ack.epoch not in self._again[stream]:
            self._again[stream].add(ack.epoch)
            log.warning(
                "the lake keeps asking for %s %s/%s, which it had acknowledged: was it restored? "
                "What is still here goes up again, and a tombstone for the rest",
                stream,
                ack.epoch,
                ack.expected,
            )

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set."""
        outbox = self._open_outbox()
        try:
            while not stopping.is_set():
                self._wake.clear()
                sent = sum([self._serve(stream, outbox) for stream in Stream])
                self.moved_s = self._clock.monotonic_s()
                if not sent:
                    self._wake.wait(IDLE_S)
        finally:
            outbox.close()

    def _serve(self, stream: Stream, outbox: Outbox) -> bool:
        """Send what is due of one stream; return whether anything was sent."""
        with self._lock:
            under_way = self._under_way.get(stream)
            marks, again = dict(self._marks[stream]), frozenset(self._again[stream])
        if not self._may_serve(stream):
            return False
        if under_way is None:
            parcel = self._next_parcel(stream, marks, again, outbox)
            if parcel is None:
                return False
            under_way = UnderWay(parcel, 0.0, 0)
        return self._send(stream, under_way)

    def _may_serve(self, stream: Stream) -> bool:
        now_s = self._clock.monotonic_s()
        return now_s >= self._not_before_s[stream] and (
            stream not in BULK or self._pace.free_at(now_s)
        )

    def _next_parcel(
        self, stream: Stream, marks: dict[str, int], again: frozenset[str], outbox: Outbox
    ) -> Parcel | None:
        """Return what comes next; what is damaged is never sent, but given up by the writer."""
        try:
            return outbox.next_parcel(stream, marks, self._settings.batch_records, again)
        except UnreadableError as found:
            log.error("%s", found)  # noqa: TRY400 - the message says it all
            self._not_before_s[stream] = self._clock.monotonic_s() + IDLE_S
            self._post(StoreTask(partial(condemn, found)))
            return None

    def _send(self, stream: Stream, under_way: UnderWay) -> bool:
        now_s = self._clock.monotonic_s()
        topic, payload = topics.uplink(self._at, stream), under_way.parcel.payload
        size = len(topic) + len(payload) + FRAME_BYTES
        if now_s < under_way.resend_at_s or not self._budget.allows(stream, size):
            return False
        pause_s = min(self._settings.resend_s * 2**under_way.tries, self._settings.resend_max_s)
        sending = UnderWay(
            under_way.parcel,
            now_s + pause_s * random.uniform(0.8, 1.2),  # noqa: S311 - jitter, no secret
            min(under_way.tries + 1, 16),
        )
        epoch, last_seq = under_way.parcel.epoch, under_way.parcel.last_seq
        with self._lock:
            self._under_way[stream] = sending
            self._sent[stream][epoch] = max(last_seq, self._sent[stream].get(epoch, 0))
        if self._publish(topic, payload):
            self._charge(stream, size, now_s)
            return True
        with self._lock:
            sending.resend_at_s = now_s + IDLE_S
        return False

    def _charge(self, stream: Stream, size: int, now_s: float) -> None:
        self._heard_s = now_s
        self._budget.charge(size)
        if stream in BULK:
            self._pace.charge(size, now_s)
