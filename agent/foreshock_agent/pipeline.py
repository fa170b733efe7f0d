"""intake -> decode -> windows -> score -> judge -> COMMIT -> acknowledge -> publish.

One thread runs all of it and is the only writer of the store. Others hand it things through `post`;
a full queue blocks them, which holds the broker's socket back. Nothing that happened before a
commit is visible outside: a `kill -9` anywhere takes the process back to the last commit, and the
broker sends again what was not acknowledged.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from foreshock_agent.clock import ClockWatch, is_trusted
from foreshock_agent.damage.errors import corruption_told
from foreshock_agent.intake.commands import command_of
from foreshock_agent.intake.identity import IntakeIdentity, taken
from foreshock_agent.intake.inbox import Inbox
from foreshock_agent.intake.reception import Reception
from foreshock_agent.items import LakeAcked, SessionBegan, StoreTask, SwapModel, UseSettings
from foreshock_agent.judging.judge import Judge
from foreshock_agent.judging.machines import Machines
from foreshock_agent.judging.score_records import message_of, row_of
from foreshock_agent.judging.scoring import SECOND_NS
from foreshock_agent.mqtt.link import Delivery, Outgoing
from foreshock_rules.readings import LATEST_NS
from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from foreshock_agent.clock import Clock
    from foreshock_agent.items import Item
    from foreshock_agent.judging.scoring import Due, Score, Scorer
    from foreshock_agent.settings import Settings
    from foreshock_agent.sources import Sources
    from foreshock_agent.store.keeper import Keeper
    from foreshock_agent.store.store import Store
    from foreshock_agent.update.proving import Watch
    from foreshock_wire.messages import Alarm

log = logging.getLogger(__name__)

TRIM_EVERY_S: Final = 60.0
MOST_READINGS: Final = 20_000
"""So many readings are committed at once; of batches, more would only hold more memory."""
MOST_BYTES: Final = 4 << 20
"""Messages of so many bytes wait for a commit, whatever they hold."""
OFFER_S: Final = 0.05
HOUR_NS: Final = 3600 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Outside:
    """What the pipeline does to the world, after a commit."""

    ack: Callable[[Sequence[Delivery]], None]
    publish: Callable[[Sequence[Outgoing]], None]
    committed: Callable[[], None]


class Pipeline:
    """The flow of one gateway; `run` is its thread."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        keeper: Keeper,
        sources: Sources,
        scorer: Scorer,
        clock: Clock,
        outside: Outside,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._scorer = scorer
        self._clock = clock
        self._outside = outside
        self._inbox: Inbox[Item] = Inbox(_size)
        self._clock_watch = ClockWatch(clock.boot, store.last_start_ns)
        self._identity = IntakeIdentity(store.intake())
        self._machines = Machines(scorer.window_spec, store, sources.tracks)
        self._judge = Judge(settings.at, scorer, store.alarms(), self._machines.scored_ns())
        self._reception = Reception(
            sources, store, self._machines, self._identity, settings.max_ahead_s
        )
        self._find_ahead(clock.now_ns())
        self._gathered: list[Delivery] = []
        self._unacked: list[Delivery] = []
        self._outgoing: list[Outgoing] = []
        self._dirty = self._urgent = False
        self._last_commit_s = self._last_trim_s = clock.monotonic_s()
        self._committed_bytes = 0
        self.moved_s = clock.monotonic_s()
        self.watch: Watch | None = None

    def post(self, *items: Item) -> None:
        """Hand something to the pipeline's thread; blocks while the inbox is full.

        Once the pipeline has ended it is dropped: nothing of it was acknowledged to anyone.
        """
        self._inbox.post(items)

    def offer(self, deliveries: Sequence[Delivery]) -> bool:
        """Hand sensor messages over, or return false soon if there is no room."""
        return self._inbox.post(deliveries, timeout_s=OFFER_S)

    @property
    def ended(self) -> bool:
        """Whether the thread is gone, in order or by an error."""
        return self._inbox.closed

    @property
    def waiting(self) -> int:
        """Number of items in the inbox."""
        return len(self._inbox)

    @property
    def machines(self) -> int:
        """Number of machines heard so far."""
        return len(self._machines)

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then commit what is open.

        Raises:
            StoreDamagedError: the database is not what was written.
        """
        try:
            with corruption_told():
                while not stopping.is_set():
                    self.step(self._inbox.take(timeout_s=0.05))
                self._commit()
        finally:
            self._inbox.close()

    def step(self, items: Sequence[Item]) -> None:
        """One round: take items, score what became due, commit when it is time."""
        for item in items:
            self._handle(item)
        self._take_in()
        if self._must_commit():
            self._commit()
        elif not self._dirty:
            self._keeper.give_way()
            self._keeper.look()
        self.moved_s = self._clock.monotonic_s()

    def _handle(self, item: Item) -> None:
        """Gather sensor messages, which are taken together; all else is done in its turn."""
        self._dirty = True
        if isinstance(item, Delivery):
            self._unacked.append(item)
            if not item.topic.startswith(topics.PREFIX):
                self._gathered.append(item)
                return
        self._take_in()
        self._settle()
        match item:
            case Delivery():
                self._command(item)
            case LakeAcked(epoch, stream, seq, said):
                self._store.acked(epoch, stream, seq, said)
            case SwapModel() | UseSettings():
                self._change(item)
            case StoreTask(work):
                work(self._store)
            case SessionBegan(session_present):
                self._greet(session_present=session_present)

    def _take_in(self) -> None:
        if self._gathered:
            messages, self._gathered = self._gathered, []
            now_ns = self._clock.now_ns()
            self._watch_clock(now_ns)
            if self._reception.gather(messages, now_ns):
                self._settle()

    def _settle(self) -> None:
        """Bring what was gathered into the windows, and score those that became due."""
        due = self._reception.settle()
        for machine, time_ns in self._machines.take_begun_anew():
            self._judge.back_at(machine, time_ns)
        if due:
            self._score(due)

    def _watch_clock(self, now_ns: int) -> None:
        """Note a clock that is not set yet, or was set, before anything is stamped by it."""
        noted = self._clock_watch.look(now_ns, self._clock.boot_ns())
        if noted is None:
            return
        self._settle()
        self._machines.flush()
        seq = self._store.next_seq(Stream.READINGS)
        body = noted.model_copy(update={"readings_seq": seq})
        self._store.add_record(Stream.EVENTS, body.model_dump_json())
        self._store.accounts.add(f"clock.{noted.kind}")
        log.warning("the clock: %s, moved by %.1f s", noted.kind, noted.step_ns / SECOND_NS)
        self._find_ahead(now_ns)

    def _find_ahead(self, now_ns: int) -> None:
        ahead_ns = round(self._settings.max_ahead_s * SECOND_NS)
        self._machines.find_ahead(now_ns + ahead_ns if is_trusted(now_ns) else LATEST_NS)

    def _command(self, message: Delivery) -> None:
        accounts = self._store.accounts
        accounts.add("commands.received")
        if self._identity.is_redelivered(message, taken(accounts)):
            accounts.add("commands.duplicate")
            return
        self._identity.remember(message, taken(accounts))
        try:
            machine, asked = command_of(message)
        except ForeshockError as error:
            log.warning("alarm command refused: %s", error)
            accounts.add("commands.rejected")
            return
        self._announce(self._judge.command(machine, asked.action, asked.until_ns))
        answered = self._judge.answered(machine, asked)
        if answered is not None:
            self._store.add_record(Stream.EVENTS, answered.model_dump_json())
            if (watch := self.watch) is not None:
                watch.answered(machine, answered.kind)

    def _score(self, due: list[Due]) -> None:
        began_s = time.thread_time()
        scores = self._scorer.score(due)
        if (watch := self.watch) is not None:
            watch.scored(scores, 1e6 * (time.thread_time() - began_s) / len(due))
        now_ns = self._clock.now_ns()
        self._store.add_scores([row_of(score, now_ns) for score in scores])
        for score in scores:
            self._announce(self._judge.judge(score))
            self._outgoing.append(self._score_message(score))

    def _score_message(self, score: Score) -> Outgoing:
        topic = topics.score(self._settings.at, score.due.machine)
        return Outgoing(topic, orjson.dumps(message_of(score)))

    def _announce(self, alarm: Alarm | None) -> None:
        if alarm is None:
            return
        self._store.add_record(Stream.ALARMS, alarm.model_dump_json())
        around_ns = round(self._settings.retention.around_alarms_h * HOUR_NS)
        span = (max(0, alarm.time_ns - around_ns), alarm.time_ns + around_ns)
        self._store.protect(alarm.machine, alarm.episode, *span)
        topic = topics.alarm(self._settings.at, alarm.machine)
        self._outgoing.append(Outgoing(topic, alarm.to_bytes(), retain=True))
        self._urgent = True

    def _change(self, request: SwapModel | UseSettings) -> None:
        """Change between two windows; another shape of window is rebuilt from the store.

        While the disk holds a commit back there is nothing to rebuild from: the asker asks again.
        """
        self._commit()
        if self._keeper.holds_back or not request.claim():
            return
        match request:
            case SwapModel():
                self._scorer.model = request.model
            case UseSettings():
                self._settings = request.settings
                self._scorer.use(request.settings)
                self._reception.use(request.sources, request.settings.max_ahead_s)
                self._keeper.use(request.settings)
        if self._scorer.window_spec != self._machines.spec:
            self._machines.use(self._scorer.window_spec)
            self._find_ahead(self._clock.now_ns())
        request.done.set()

    def _greet(self, *, session_present: bool) -> None:
        """After a connect: the broker may have lost its session and what it retained."""
        if not session_present:
            self._identity.session_lost(taken(self._store.accounts))
        for machine, alarm in self._judge.alarms.items():
            topic = topics.alarm(self._settings.at, machine)
            self._outgoing.append(Outgoing(topic, alarm.to_bytes(), retain=True))
        self._commit()
        # What the broker kept for us has waited long enough: the first of it is told at once.
        self._last_commit_s = float("-inf")

    def _must_commit(self) -> bool:
        waited_s = self._clock.monotonic_s() - self._last_commit_s
        full = (
            len(self._unacked) >= self._settings.commit.messages
            or self._machines.unwritten >= MOST_READINGS
            or self._inbox.handed_bytes - self._committed_bytes >= MOST_BYTES
        )
        full = full and not self._keeper.holds_back
        return self._dirty and (
            self._urgent or full or waited_s >= self._settings.commit.interval_s
        )

    def _commit(self) -> None:
        """Make everything so far durable; only then tell anyone, unless it is an alarm.

        What the disk keeps from being durable is not acknowledged before it was given up.
        """
        self._settle()
        self._machines.flush()
        self._judge.save(self._store)
        self._store.save_intake(*self._identity.take_fresh(taken(self._store.accounts)))
        self._make_room()
        if self._keeper.commit(held_bytes=sum(map(_size, self._unacked))):
            self._machines.forget()
            self._outside.ack(self._unacked)
            self._unacked, self._dirty = [], self._store.refusal is not None
        self._outside.publish(self._outgoing)
        self._outgoing, self._urgent = [], False
        self._last_commit_s = self._clock.monotonic_s()
        self._committed_bytes = self._inbox.handed_bytes
        self._outside.committed()

    def _make_room(self) -> None:
        """Delete what nobody needs, and what a full store cannot keep; a bounded part a call."""
        pressed, now_s = self._keeper.excess > 0, self._clock.monotonic_s()
        if pressed and self._machines.save_soon():
            return  # readings go before scores, and before a snapshot they cannot
        if pressed or now_s - self._last_trim_s >= TRIM_EVERY_S:
            kept_h = 0 if pressed else self._settings.retention.keep_delivered_h
            if self._machines.trim(self._machines.spec.history_ns + round(kept_h * HOUR_NS)):
                return
            self._last_trim_s = now_s
        if pressed and self._keeper.measure() > 0:
            self._keeper.drop()


def _size(item: Item) -> int:
    return len(item.payload) if isinstance(item, Delivery) else 0
