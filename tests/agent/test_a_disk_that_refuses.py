"""A disk that does not take a commit: nothing acknowledged is lost, alarms go on, nothing stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreshock_agent.items import LakeAcked
from foreshock_agent.store.disk import Ballast, free_bytes
from foreshock_agent.store.journal import is_refusal
from foreshock_trainer.lake import Lake
from foreshock_wire.topics import Stream
from tests.agent.rig import Bench, Ledger, healthy, sample
from tests.agent.sent_to_a_lake import assert_whole, drain, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTRA = """
[retention]
hold_s = 30

[limits.temperature]
high = 90
"""


class Disk:
    """Lets the database not grow, which SQLite reports as it does a full disk; real SQLITE_FULL."""

    def __init__(self, bench: Bench) -> None:
        self._db = bench.store._db  # noqa: SLF001 - the fault

    def refuse(self) -> None:
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        self._db.execute(f"PRAGMA max_page_count = {pages}")

    def recover(self) -> None:
        self._db.execute("PRAGMA max_page_count = 1000000000")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "gate", extra=EXTRA)
    yield made
    made.close()


def send(bench: Bench, slots: range, temperature: float | None = None) -> None:
    """Bring one message a slot in, with a commit each 25, until the disk refuses and beyond."""
    for slot in slots:
        hot = sample(slot, temperature=temperature or 0.0, pressure=1.0)
        payload = healthy(1, slot) if temperature is None else hot
        bench.step(bench.delivery(payload, "pump-1"))
        if slot % 25 == 24:
            bench.commit()
    bench.commit()


def until_refused(bench: Bench, slot: int = 0) -> int:
    """Send until the disk has refused a commit; return the next slot."""
    while bench.store.refusal is None:
        send(bench, range(slot, slot + 25))
        slot += 25
    return slot


def ledger(bench: Bench) -> Ledger:
    return Ledger.read(bench.settings.database)


def test_nothing_is_acknowledged_while_it_is_held_and_all_is_when_the_disk_is_back(
    bench: Bench,
) -> None:
    send(bench, range(50))
    disk = Disk(bench)
    disk.refuse()
    slot = until_refused(bench, 50)
    acked, before = len(bench.acked), ledger(bench)
    assert before.accounts["messages.stored"] == acked
    assert bench.keeper.problem.endswith("nothing is acknowledged")
    assert bench.keeper.gauges()["disk_refuses"] == 1
    send(bench, range(slot, slot + 25))
    assert len(bench.acked) == acked
    assert ledger(bench).readings == before.readings
    disk.recover()
    bench.clock.seconds += 2
    bench.commit()
    after = ledger(bench)
    assert len(bench.acked) == slot + 25 == after.accounts["messages.stored"]
    assert len(after.readings) == 2 * (slot + 25)
    assert after.broken == []
    assert bench.keeper.problem == ""


def test_an_alarm_waits_for_no_disk(bench: Bench) -> None:
    send(bench, range(50))
    Disk(bench).refuse()
    slot = until_refused(bench, 50)
    said = len(bench.published)
    send(bench, range(slot, slot + 10), temperature=95.0)
    alarms = [one for one in bench.published[said:] if one.topic.endswith("/alarm")]
    assert len(alarms) == 1
    assert alarms[0].retain


def test_after_the_hold_it_is_scored_acknowledged_and_told_and_alarms_are_kept(
    bench: Bench,
) -> None:
    send(bench, range(50))
    disk = Disk(bench)
    disk.refuse()
    slot = until_refused(bench, 50)
    bench.clock.seconds += 30
    send(bench, range(slot, slot + 25))
    assert len(bench.acked) == slot + 25
    assert "not stored" in bench.keeper.problem
    send(bench, range(slot + 25, slot + 35), temperature=95.0)
    send(bench, range(slot + 35, slot + 100))
    assert len(bench.acked) == slot + 100
    assert len(bench.published) > (slot + 100) / 2 - 8  # every score, and the alarms
    assert bench.store.waiting < 20
    disk.recover()
    bench.clock.seconds += 2
    send(bench, range(slot + 100, slot + 125))
    after = ledger(bench)
    assert after.broken == []
    assert after.accounts["messages.rejected.disk_full"] >= 100
    assert after.accounts["readings.rejected.disk_full"] >= 190
    assert after.accounts["scores.rejected.disk_full"] >= 45
    assert after.pending[Stream.ALARMS] > 0
    stored = after.accounts["messages.stored"]
    bench.clock.seconds += 30
    send(bench, range(slot + 125, slot + 150))  # the look that sees the room
    send(bench, range(slot + 150, slot + 200))
    assert bench.keeper.problem == ""
    assert ledger(bench).accounts["messages.stored"] >= stored + 50


def test_a_trim_that_the_disk_refuses_ends_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(bench, range(100))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 200))
    bench.store.begin()
    bench.machines.save()
    bench.commit()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def refuse(*_: object) -> None:
        raise full

    monkeypatch.setattr("foreshock_agent.store.chunks.keep_only", refuse)
    assert not bench.machines.trim(0)
    assert bench.store.refusal is full
    monkeypatch.undo()
    bench.clock.seconds += 2
    send(bench, range(100, 125))
    assert bench.store.refusal is None
    assert ledger(bench).broken == []
    assert ledger(bench).accounts["messages.stored"] == 125


def test_readings_are_tried_again_later_and_later(bench: Bench) -> None:
    """A disk that takes alarms and no readings, as under a quota, does not hold up each score."""
    send(bench, range(50))
    Disk(bench).refuse()
    slot = until_refused(bench, 50)
    held = 0
    for begin in range(slot, slot + 600, 2):  # ten minutes
        send(bench, range(begin, begin + 2))
        held += bench.keeper.holds_back
    assert held < 150
    assert ledger(bench).broken == []


STEPS = st.lists(
    st.sampled_from(["send", "send", "alarm", "ack", "refuse", "recover", "wait"]), max_size=25
)


@given(STEPS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whenever_it_refuses_the_accounts_balance_and_no_acknowledged_message_is_untold(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("refuses"), extra=EXTRA)
    disk, slot, acked = Disk(bench), 0, 0
    for step in [*steps, "recover", "wait", "wait"]:
        match step:
            case "send" | "alarm":
                send(bench, range(slot, slot + 30), 95.0 if step == "alarm" else None)
                slot += 30
            case "ack":
                acked += 7
                bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, acked))
            case "refuse":
                disk.refuse()
            case "recover":
                disk.recover()
            case "wait":
                bench.clock.seconds += 2
                bench.step(bench.delivery(healthy(1, slot), "pump-1"))
                bench.commit()
                slot += 1
        found = ledger(bench)
        assert found.broken == []
    told = found.accounts["messages.stored"] + found.accounts.get("messages.rejected.disk_full", 0)
    assert len(bench.acked) == slot == told
    assert len(found.readings) <= found.accounts["readings.stored"]
    bench.close()


def test_only_a_disks_errors_are_taken_for_a_disks(bench: Bench) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        with pytest.raises(sqlite3.OperationalError) as wrong:
            db.execute("SELECT * FROM nowhere")
        assert not is_refusal(wrong.value)
        db.execute("CREATE TABLE t (b)")
        db.execute("PRAGMA max_page_count = 3")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        assert is_refusal(full.value)
    bench.store._db.execute("DROP TABLE scores")  # noqa: SLF001 - a bug, not a disk
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        send(bench, range(30))


def test_when_others_fill_the_disk_old_readings_make_room_and_then_only_alarms_are_kept(
    tmp_path: Path,
) -> None:
    extra = EXTRA.replace("hold_s = 30", "min_free_bytes = 100_000\nballast_bytes = 50_000")
    bench = Bench(tmp_path, extra=extra, batch_records=10)
    bench.free = 10_000_000
    send(bench, range(2_000))
    assert (tmp_path / "data" / "ballast").stat().st_size == 50_000
    bench.free = 0
    send(bench, range(2_000, 2_500))
    found = ledger(bench)
    assert found.accounts["readings.dropped.storage_full"] > 500
    assert bench.keeper.room.inside >= 50_000
    assert found.broken == []
    assert "messages.rejected.disk_full" in found.accounts  # until there was room
    before = found.accounts["messages.stored"]
    send(bench, range(2_500, 2_600))
    send(bench, range(2_600, 2_610), temperature=95.0)
    assert ledger(bench).pending[Stream.ALARMS] > 0
    assert "alarms.dropped.storage_full" not in ledger(bench).accounts
    assert ledger(bench).accounts["messages.stored"] == before + 110
    bench.close()


def test_the_ballast_takes_real_room_and_gives_it_back(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 1 << 20)
    assert not ballast.release()
    assert ballast.take()
    assert ballast.aboard
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1 << 20
    assert ballast.release()
    assert not ballast.aboard
    assert not Ballast(tmp_path / "no" / "where", 10).take()
    assert free_bytes(tmp_path) > 0
    assert free_bytes(tmp_path / "no" / "where") == 0


def test_the_lake_adds_up_after_a_disk_that_came_and_went(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "gate", extra=EXTRA)
    disk, lake = Disk(bench), Lake(str(tmp_path / "lake"), create=True)
    send(bench, range(100))
    drain(lake, bench)
    for begin in (100, 400):
        disk.refuse()
        slot = until_refused(bench, begin)
        bench.clock.seconds += 30
        send(bench, range(slot, begin + 250))
        disk.recover()
        bench.clock.seconds += 30
        send(bench, range(begin + 250, begin + 300))
    drain(lake, bench)
    assert_whole(lake)
    found = ledger(bench)
    assert found.broken == []
    assert rows(lake, Stream.READINGS) == found.accounts["readings.delivered"]
    assert found.accounts["readings.rejected.disk_full"] > 0
    bench.close()
