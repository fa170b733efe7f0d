"""Rejected messages that are kept, read once more by today's settings while the agent is stopped.

They come in as messages of their own, received when they first came: the accounts count what
becomes of them now, and `letters.taken` how many they were. They go through the pipeline that every
message goes through, and leave the quarantine in the transaction that stores their readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.opening import StoreError
from foreshock_agent.desk.replay import installed
from foreshock_agent.intake.columns import OK, Columns
from foreshock_agent.intake.dead_letters import kept_letters
from foreshock_agent.items import StoreTask
from foreshock_agent.judging.scoring import Scorer
from foreshock_agent.mqtt.link import Delivery
from foreshock_agent.pipeline import Outside, Pipeline
from foreshock_agent.sources import Sources
from foreshock_agent.sources.base import RejectedMessageError
from foreshock_agent.store.accounts import total
from foreshock_agent.store.chunks import OldReadings
from foreshock_agent.store.database import looking
from foreshock_agent.store.disk import give_back
from foreshock_agent.store.keeper import Keeper, open_store
from foreshock_agent.store.store import Store
from foreshock_rules.readings import Rejected

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from foreshock_agent.clock import Clock
    from foreshock_agent.intake.columns import Arrivals
    from foreshock_agent.intake.dead_letters import Letter
    from foreshock_agent.settings import Settings

WHOLE: Final = frozenset({Rejected.MALFORMED, Rejected.OVERSIZE, Rejected.UNKNOWN_TOPIC})
"""For these nothing of a message was stored; for others some of its readings may have been."""


class Verdict(StrEnum):
    """What today's settings say to a kept message."""

    READABLE = "readable"
    REJECTED = "rejected"
    CUT = "cut"
    MAYBE_STORED = "maybe_stored"


@dataclass(frozen=True, slots=True)
class Looked:
    """A kept message, what is said to it, why it is still rejected, and its good readings."""

    letter: Letter
    verdict: Verdict
    why: str = ""
    readings: int = 0


@dataclass(frozen=True, slots=True)
class SecondLook:
    """All that are kept, oldest first, of how many that were ever rejected."""

    rejected: int
    letters: tuple[Looked, ...]

    @property
    def readable(self) -> list[Letter]:
        """Those that would be stored."""
        return [one.letter for one in self.letters if one.verdict is Verdict.READABLE]


def look(settings: Settings) -> SecondLook:
    """Decode every kept message by these settings; reads only, beside a running agent.

    Raises:
        NoStoreError: there is no database.
        StoreDamagedError: SQLite cannot read it.
    """
    with looking(settings.database) as db:
        accounts = dict(db.execute("SELECT name, value FROM accounts"))
        reader = _Reader(db, settings)
        looked = tuple(map(reader.look, kept_letters(db)))
        return SecondLook(total(accounts, "messages.rejected"), looked)


class _Reader:
    def __init__(self, db: sqlite3.Connection, settings: Settings) -> None:
        self._sources = Sources(settings.sources, settings.max_message_bytes)
        self._stored = OldReadings(db, self._sources.tracks)
        (self._oldest_ns,) = db.execute("SELECT min(oldest_ns) FROM chunks").fetchone()

    def look(self, letter: Letter) -> Looked:
        if letter.cut:
            return Looked(letter, Verdict.CUT)
        columns = Columns()
        try:
            self._sources.decode(letter.topic, letter.payload, letter.received_ns, columns)
        except RejectedMessageError as error:
            return Looked(letter, Verdict.REJECTED, str(error))
        columns.end_message()
        found = columns.arrivals()
        good = found.problems() == OK
        if not good.any():
            return Looked(letter, Verdict.REJECTED, f"{letter.reason}: no good reading")
        if letter.reason not in WHOLE and not (good.all() and self._is_new(found)):
            return Looked(letter, Verdict.MAYBE_STORED)
        return Looked(letter, Verdict.READABLE, readings=int(good.sum()))

    def _is_new(self, found: Arrivals) -> bool:
        """Say whether no reading is stored, or was and is deleted since."""
        if self._oldest_ns is None:
            return True
        known = self._stored.holds(found.track, found.time_ns)
        return bool((found.time_ns >= self._oldest_ns).all()) and not known.any()


class _TimeOf:
    """A clock that stands where the message came that is taken."""

    boot = ""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at_ns = clock.now_ns()

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def boot_ns(self) -> int:
        """As if the machine had been on since 1970: no look at this clock finds it set."""
        return self.at_ns


def take(settings: Settings, letters: Sequence[Letter], clock: Clock) -> Mapping[str, int]:
    """Store kept messages as what they are now; return by how much each account changed.

    Raises:
        StoreError: the agent runs, or the database cannot be written.
    """
    at = _TimeOf(clock)
    store = open_store(settings, clock.now_ns())
    try:
        before = store.accounts.snapshot()
        keeper = Keeper(store, settings, clock)
        keeper.look()
        if keeper.problem:
            raise StoreError(f"{settings.database}: {keeper.problem}")
        pipeline = Pipeline(
            settings=settings,
            store=store,
            keeper=keeper,
            sources=Sources(settings.sources, settings.max_message_bytes),
            scorer=Scorer(settings, installed(settings)),
            clock=at,
            # Nobody listens: the agent announces standing alarms when it connects.
            outside=Outside(lambda _: None, lambda _: None, lambda: None),
        )
        for letter in letters:
            at.at_ns = letter.received_ns
            delivery = Delivery(letter.topic, letter.payload, 0, 0, dup=False, connection=0)
            release = partial(Store.release, letter_id=letter.id)
            pipeline.step([delivery, StoreTask(release)])
        _end(pipeline)
        if store.refusal is not None:
            raise StoreError(f"{settings.database} cannot be written: {store.refusal}")
        after = store.accounts.snapshot()
    finally:
        store.close()
        give_back(settings.data_dir)
    return {name: after[name] - before.get(name, 0) for name in after}


def _end(pipeline: Pipeline) -> None:
    stopping = Event()
    stopping.set()
    pipeline.run(stopping)
