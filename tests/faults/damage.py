"""Databases with flipped bits and cut-off ends, opened again and drained into a lake.

A store is filled by a real pipeline over several starts, a part of it delivered, and its files are
copied as a kill leaves them. Each trial damages a copy, opens it as an agent does, goes on with the
machines' messages, and holds what reaches the lake against what had been committed.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from foreshock_agent.damage.errors import StoreDamagedError, corruption_told
from foreshock_agent.damage.mender import Mender
from foreshock_agent.damage.opening import mark_damaged
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.items import LakeAcked
from foreshock_agent.store.accounts import DAMAGES, broken_laws
from foreshock_agent.store.database import connect
from foreshock_agent.uplink.outbox import pending_records
from foreshock_wire.topics import Stream
from tests.agent.far_side import FarSide
from tests.agent.rig import Bench, sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agent.far_side import Key

MACHINES: Final = ("pump-1", "pump-2", "pump-3")
SLOTS: Final = 90
STARTS: Final = 3
MORE: Final = 8
"""Minutes after the damage: more than a window needs, even one that begins empty."""
LIMITS: Final = "[limits.temperature]\nhigh = 55\n"
WITHIN_S: Final = 2.0


def message(machine: int, slot: int) -> bytes:
    """Return a minute of a machine: every fifth hour it is too hot, which raises an alarm."""
    rng = random.Random(machine * 10_000 + slot)  # noqa: S311 - a test's dice
    heat = 10 if slot // 12 % 3 == machine else 0
    return sample(slot, temperature=50 + heat + rng.random(), pressure=60 + rng.random())


@dataclass(frozen=True)
class Filled:
    """The files of a killed agent, what the lake holds already, and what it is still owed."""

    folder: Path
    delivered: FarSide
    owed: dict[Key, object]


def fill(folder: Path) -> Filled:
    """Fill a store over several starts; take its files as a kill leaves them."""
    lake = FarSide()
    per_start = SLOTS // STARTS
    for start in range(STARTS):
        bench = Bench(folder / "running", extra=LIMITS)
        for slot in range(start * per_start, (start + 1) * per_start):
            _minute(bench, slot)
            if slot == per_start // 2:
                _deliver_some(bench, lake)
            if slot % 40 == 25:
                bench.store.begin()
                bench.machines.save()
        if start < STARTS - 1:
            bench.close()
    killed = folder / "killed"
    shutil.copytree(folder / "running", killed)
    bench.close()
    whole = Bench(_copied(killed, folder / "whole"), extra=LIMITS)
    owed = FarSide(marks=dict(lake.marks))
    owed.drain(whole)
    whole.close()
    assert not owed.gaps
    return Filled(killed, lake, owed.records)


def _minute(bench: Bench, slot: int) -> None:
    for number, machine in enumerate(MACHINES):
        bench.step(bench.delivery(message(number, slot), machine))
    bench.commit()


def _deliver_some(bench: Bench, lake: FarSide) -> None:
    from foreshock_agent.uplink.outbox import Outbox  # noqa: PLC0415 - one use

    with closing(Outbox(bench.settings.database)) as outbox:
        for stream in Stream:
            if (parcel := outbox.next_parcel(stream, {}, 20)) is not None:
                seq = lake.take(parcel)
                bench.step(LakeAcked(parcel.epoch, stream, seq))
    bench.commit()


def _copied(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


# Damage -------------------------------------------------------------------------------------


def _flip(content: bytearray, dice: random.Random) -> str:
    at = dice.randrange(len(content))
    bit = dice.randrange(8)
    content[at] ^= 1 << bit
    return f"bit {bit} of byte {at} flipped"


def _burst(content: bytearray, dice: random.Random) -> str:
    for _ in range(count := dice.randrange(2, 64)):
        _flip(content, dice)
    return f"{count} bits flipped"


def _sector(content: bytearray, dice: random.Random) -> str:
    size = dice.choice((512, 4096))
    at = dice.randrange(max(1, len(content) // size)) * size
    filler = dice.choice((b"\0", b"\xff", b"\xa5"))
    content[at : at + size] = filler * len(content[at : at + size])
    return f"{size} bytes at {at} overwritten with {filler!r}"


def _cut(content: bytearray, dice: random.Random) -> str:
    size = dice.randrange(len(content))
    del content[size:]
    return f"cut off at {size}"


WAYS: Final[tuple[Callable[[bytearray, random.Random], str], ...]] = (
    _flip,
    _flip,
    _flip,
    _burst,
    _sector,
    _cut,
)


def without_a_beginning(database: Path, _dice: random.Random) -> str:
    """Take header and schema, and the log: what is left is read by the copy of the first page."""
    with database.open("r+b") as file:
        file.write(bytes(512))
    os.truncate(database.with_name(database.name + "-wal"), 0)
    return f"{database.name}: its beginning and its log are gone"


def anywhere(database: Path, dice: random.Random) -> str:
    """Damage the database or its write-ahead log in one way; say how."""
    file = dice.choice((database, database.with_name(database.name + "-wal")))
    content = bytearray(file.read_bytes())
    said = dice.choice(WAYS)(content, dice)
    file.write_bytes(content)
    return f"{file.name}: {said}"


# A trial ------------------------------------------------------------------------------------


def recover(folder: Path, then: Callable[[Bench], None]) -> float:
    """Open a damaged store, go on, salvage, do the rest; begin anew as the agent's process does.

    Returns after how many seconds the first score was there.
    """
    begin_s, scored_after_s = time.monotonic(), 0.0
    database = folder / "data" / "agent.db"
    while True:
        try:
            with corruption_told(), closing(Bench(folder, extra=LIMITS)) as bench:
                scored_after_s = scored_after_s or _go_on(bench) - begin_s
                mender = Mender(database, bench.step, bench.store.beacon.sync)
                for task in mender.salvage():
                    bench.step(task)
                bench.commit()
                then(bench)
                return scored_after_s
        except StoreDamagedError as fault:
            mark_damaged(database, str(fault))


def _go_on(bench: Bench) -> float:
    """Take some minutes of the machines; return when the first score was there (monotonic)."""
    scored_s = 0.0
    for slot in range(SLOTS, SLOTS + MORE):
        _minute(bench, slot)
        if not scored_s and bench.published:
            scored_s = time.monotonic()
    return scored_s


@dataclass
class Tally:
    """What many trials came to."""

    trials: int = 0
    put_aside: int = 0
    harmless: int = 0
    lost: int = 0
    salvaged: int = 0
    slowest_s: float = 0.0
    ways: dict[str, int] = field(default_factory=dict)

    def said(self) -> str:
        """Return it as a line."""
        return (
            f"{self.trials} damaged databases: {self.put_aside} put aside, {self.harmless} without "
            f"a loss, {self.lost} records lost and told, {self.salvaged} salvaged or whole, "
            f"0 altered, 0 unnoticed; the slowest scored again after {self.slowest_s:.2f} s"
        )


class Trial:
    """One damaged copy and the agent that opens it."""

    def __init__(
        self,
        filled: Filled,
        folder: Path,
        dice: random.Random,
        damage: Callable[[Path, random.Random], str] = anywhere,
    ) -> None:
        self._filled = filled
        self.folder = _copied(filled.folder, folder)
        self._database = folder / "data" / "agent.db"
        self.how = damage(self._database, dice)
        self.lake = FarSide(marks=dict(filled.delivered.marks))
        self.scored_after_s = 0.0

    def run(self) -> None:
        """Recover, and let the lake have everything."""
        self.scored_after_s = recover(self.folder, self.lake.drain)

    @property
    def lost(self) -> set[Key]:
        """What was owed to the lake, and told as lost."""
        return self._filled.owed.keys() & self.lake.gaps.keys()

    @property
    def put_aside(self) -> int:
        """How many databases are in quarantine."""
        entries = Quarantine.of(self._database).entries()
        return sum(entry.what == "a database" for entry in entries)

    def check(self, tally: Tally) -> None:
        """Hold what arrived, what was told as lost, and the accounts against the truth."""
        owed = self._filled.owed
        arrived, gaps = self.lake.records, self.lake.gaps
        for key, content in owed.items():
            assert (key in arrived) != (key in gaps), f"{key} vanished"
            if key in arrived:
                assert arrived[key] == content, f"{key} was altered"
        assert set(gaps.values()) <= {"damaged"}
        self._check_new()
        self._check_accounts()
        tally.trials += 1
        tally.put_aside += bool(self.put_aside)
        tally.harmless += not self.lost
        tally.lost += len(self.lost)
        tally.salvaged += len(owed) - len(self.lost)
        tally.slowest_s = max(tally.slowest_s, self.scored_after_s)

    def _check_new(self) -> None:
        """Every reading after the damage is in the lake, and nothing else is."""
        old = {epoch for epoch, *_ in self._filled.owed}
        times = [
            (content["machine"], content["channel"], content["time_ns"])
            for (epoch, stream, _), content in self.lake.records.items()
            if stream is Stream.READINGS and epoch not in old and isinstance(content, dict)
        ]
        gone = sum(1 for epoch, stream, _ in self.lake.gaps if epoch not in old)
        assert len(times) == len(set(times))
        assert len(times) + gone >= MORE * len(MACHINES) * 2

    def _check_accounts(self) -> None:
        with closing(connect(self._database, read_only=True)) as db:
            accounts = dict(db.execute("SELECT name, value FROM accounts").fetchall())
            pending = pending_records(db)
        assert accounts.get(DAMAGES, 0) == self.put_aside
        assert pending == dict.fromkeys(Stream, 0)
        assert broken_laws(accounts, 0) == []
        for stream in Stream:
            told = sum(1 for _, of, _ in self.lake.gaps if of is stream)
            assert accounts.get(f"{stream}.dropped.damaged", 0) == told
