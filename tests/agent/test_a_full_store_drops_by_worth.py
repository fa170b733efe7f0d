"""A store that is full lets go of what is worth least, and the lake is told of each record."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.store import worth
from foreshock_agent.store.chunks import stored_readings
from foreshock_agent.store.room import Bounds, Room, excess, has_room_for_bulk
from foreshock_agent.store.worth import Cursor, Span, Worth
from foreshock_trainer.lake import Lake
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, Bench, Ledger, healthy, sample
from tests.agent.sent_to_a_lake import assert_whole, drain, dropped, rows, send

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 300_000
SMALL = f"""
[retention]
max_bytes = {MAX_BYTES}
around_alarms_h = 3

[limits.temperature]
high = 90
"""
SMALLER = SMALL.replace(str(MAX_BYTES), "270000")
HOURS_NS = 3600 * 10**9

# The rules --------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=8), st.integers(0, 900)
)
def test_what_may_be_on_its_way_is_spared_and_no_more(
    ends: list[tuple[int, int]], records: int
) -> None:
    cursors = [Cursor(n, min(end), max(end)) for n, end in enumerate(ends, start=1)]
    reach = worth.reach_of(cursors, records)
    pending = [(c.epoch_n, seq) for c in cursors for seq in range(c.acked + 1, c.last + 1)]
    spared = [key for key in pending if key <= reach]
    assert spared == pending[:records]


def test_what_is_only_being_stored_is_within_reach_too() -> None:
    """Its seqs are beyond what the stored cursor has numbered."""
    assert worth.reach_of([Cursor(1, 5, 9), Cursor(2, 3, 3)], 100) == (2, 3 + 96)
    assert worth.reach_of([Cursor(1, 0, 0)], 100) == (1, 100)


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 5), st.booleans()), max_size=30))
def test_runs_hold_the_same_records_and_no_two_of_them_touch(
    steps: list[tuple[int, int, bool]],
) -> None:
    spans, seq, epoch = [], 1, 1
    for new_epoch, length, gap in steps:
        if new_epoch > epoch:
            epoch, seq = new_epoch, 1
        seq += gap
        spans.append(Span(epoch, seq, seq + length - 1, 10))
        seq += length
    found = list(worth.runs(spans))
    keys = [(s.epoch_n, n) for s in spans for n in range(s.first_seq, s.last_seq + 1)]
    assert [(s.epoch_n, n) for s in found for n in range(s.first_seq, s.last_seq + 1)] == keys
    assert sum(one.size for one in found) == 10 * len(spans)
    for one, other in pairwise(found):
        assert (one.epoch_n, one.last_seq + 1) != (other.epoch_n, other.first_seq)


def test_thinning_leaves_a_quarter_of_any_pattern_of_machines() -> None:
    for machines in (1, 2, 3, 4, 5, 8, 16, 40):
        for turn in range(machines):
            chunks = range(turn, 4_000 * machines, machines)
            left = sum(worth.stays_when_thinned(n) for n in chunks) / len(chunks)
            assert 0.2 < left < 0.3, (machines, turn)


BYTES = st.integers(0, 1000)


@given(st.builds(Room, BYTES, BYTES, BYTES), st.builds(Bounds, BYTES, BYTES, BYTES))
def test_what_must_go_is_what_is_missing_and_no_more(room: Room, bounds: Bounds) -> None:
    free, inside, used = room.free, room.inside, room.used
    gone = excess(room, bounds)
    after = Room(free, inside + gone, used - gone)
    assert excess(after, bounds) == 0
    if gone:
        almost = Room(free, inside + gone - 1, used - gone + 1)
        assert excess(almost, bounds) == 1
    assert has_room_for_bulk(room, bounds) == (free + inside > bounds.reserve)


# A store ----------------------------------------------------------------------------------------


def fill(bench: Bench, slots: range) -> None:
    """Store a commit of 25 messages for each 25 minutes."""
    for first in range(slots.start, slots.stop, 25):
        some = range(first, min(first + 25, slots.stop))
        bench.step(*[bench.delivery(healthy(1, slot), "pump-1") for slot in some])
        bench.commit()


def made(folder: Path, extra: str = SMALL) -> Bench:
    """Return a bench whose uplink reaches a thousand records far."""
    return Bench(folder, extra=extra, batch_records=10)


def used(bench: Bench) -> int:
    return bench.keeper._drops.room(0).used  # noqa: SLF001 - to measure


def hours_stored(bench: Bench) -> list[float]:
    with closing(sqlite3.connect(bench.settings.database)) as db:
        batches = list(stored_readings(db))
    return sorted({(ns - BEGIN_NS) / HOURS_NS for one in batches for ns in one.time_ns.tolist()})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fill a store beyond its bounds, an alarm early on; return its folder."""
    folder = tmp_path_factory.mktemp("full")
    bench = made(folder)
    fill(bench, range(4_500))
    bench.take(*[sample(4_500 + slot, temperature=95.0) for slot in range(10)])
    fill(bench, range(4_510, 9_000))
    bench.close()
    return folder


def test_it_keeps_to_its_bounds_and_what_lies_around_an_alarm_stays(full: Path) -> None:
    bench = made(full)
    assert used(bench) <= MAX_BYTES + 50_000
    ledger = Ledger.read(bench.settings.database)
    assert ledger.broken == []
    assert ledger.accounts["readings.dropped.storage_full"] > 4_000
    stored = hours_stored(bench)
    around = [hour for hour in stored if 72.1 <= hour <= 77.9]
    assert len(around) == pytest.approx(5.8 * 60, abs=2)
    reach = worth.REACH_UPLOADS * bench.settings.uplink.batch_records
    first = [hour for hour in stored if hour < reach / 120 - 1]
    assert len(first) == pytest.approx((reach / 120 - 1) * 60, abs=2)  # may be on their way
    assert len(ledger.scores) > 1_000
    bench.close()


def test_the_lake_hears_of_every_record_once(full: Path, tmp_path: Path) -> None:
    bench, lake = made(full), Lake(str(tmp_path / "lake"), create=True)
    drain(lake, bench)
    assert_whole(lake)
    ledger = Ledger.read(bench.settings.database)
    assert ledger.broken == []
    accounts = ledger.accounts
    assert rows(lake, Stream.READINGS) == accounts["readings.delivered"]
    assert dropped(lake, Stream.READINGS) == accounts["readings.dropped.storage_full"] > 4_000
    assert rows(lake, Stream.ALARMS) == accounts["alarms.delivered"] > 0
    assert (
        rows(lake, Stream.READINGS) + dropped(lake, Stream.READINGS)
        == (accounts["readings.stored"])
    )
    bench.close()


def test_what_was_sent_and_not_yet_answered_is_not_dropped(tmp_path: Path) -> None:
    """Else it would stand in the lake, and in the accounts as dropped."""
    bench, lake = made(tmp_path / "gate", SMALLER), Lake(str(tmp_path / "lake"), create=True)
    fill(bench, range(450))
    send(lake, bench.settings.database)  # the answers are lost
    sent = rows(lake, Stream.READINGS)
    assert sent == 900
    fill(bench, range(450, 6_000))
    drain(lake, bench)
    accounts = Ledger.read(bench.settings.database).accounts
    assert rows(lake, Stream.READINGS) == accounts["readings.delivered"]
    assert dropped(lake, Stream.READINGS) == accounts["readings.dropped.storage_full"] > 0
    assert_whole(lake)
    bench.close()


def test_each_class_goes_only_when_the_cheaper_ones_are_gone(tmp_path: Path) -> None:
    bench = made(tmp_path, SMALL.replace(str(MAX_BYTES), "4000000"))
    fill(bench, range(600))
    bench.take(*[sample(600 + slot, temperature=95.0) for slot in range(10)])
    fill(bench, range(610, 1_200))
    bench.store.begin()
    bench.machines.save()
    bench.store.commit()
    drops = bench.store.drops(reach=0)
    gone: list[Stream] = []
    left: list[int] = []
    while True:
        stream, spans = drops.choose(20_000)
        if not spans:
            break
        for span in spans:
            bench.store.drop_span(stream, span, worth.STORAGE_FULL)
        assert bench.store.commit()
        gone.append(stream)
        left.append(sum(420 / 60 < hour < 780 / 60 for hour in hours_stored(bench)))
    assert list(dict.fromkeys(gone)) == [Stream.READINGS, Stream.SCORES, Stream.ALARMS]
    first_score = gone.index(Stream.SCORES)
    assert left[first_score] == left[0] > 300  # ordinary scores before readings around the alarm
    assert Stream.READINGS in gone[first_score:]
    assert gone[-1] is Stream.ALARMS
    ledger = Ledger.read(bench.settings.database)
    assert ledger.broken == []
    assert sum(ledger.pending.values()) == 0
    bench.close()


def test_an_alarm_protects_the_scores_of_its_own_machine(tmp_path: Path) -> None:
    bench = made(tmp_path, SMALL.replace(str(MAX_BYTES), "4000000"))
    for machine in ("hot", "cool"):
        degrees = 95.0 if machine == "hot" else 50.0
        slots = range(40)
        bench.take(*[sample(slot, temperature=degrees) for slot in slots], machine=machine)
    drops = bench.store.drops(reach=0)
    while (found := drops.choose(1_000, worth.Worth.SCORES))[1]:
        for span in found[1]:
            bench.store.drop_span(found[0], span, worth.STORAGE_FULL)
        assert bench.store.commit()
    scored = {machine for machine, *_ in Ledger.read(bench.settings.database).scores}
    assert scored == {"hot"}
    bench.close()


def test_thinning_comes_before_dropping_and_spares_the_newest_longest(tmp_path: Path) -> None:
    bench = made(tmp_path, SMALL.replace(str(MAX_BYTES), "4000000"))
    fill(bench, range(5_000))
    bench.store.begin()
    bench.machines.save()
    bench.store.commit()
    drops = bench.store.drops(reach=0)
    before = len(hours_stored(bench))
    stream, spans = drops.choose(60_000)
    for span in spans:
        bench.store.drop_span(stream, span, worth.STORAGE_FULL)
    assert bench.store.commit()
    stored = hours_stored(bench)
    edge = spans[-1].last_seq / 120
    old = [hour for hour in stored if hour < edge]
    assert 0.1 < len(old) / (edge * 60) < 0.4
    assert len(stored) - len(old) == pytest.approx(before - edge * 60, abs=2)
    bench.close()


def test_delivered_readings_that_were_kept_for_a_while_go_first(tmp_path: Path) -> None:
    extra = SMALL.replace("[retention]", "[retention]\nkeep_delivered_h = 100000")
    bench, lake = made(tmp_path / "gate", extra), Lake(str(tmp_path / "lake"), create=True)
    fill(bench, range(2_500))
    drain(lake, bench)
    fill(bench, range(2_500, 4_000))
    retention = bench.settings.retention
    tighter = retention.model_copy(update={"max_bytes": used(bench) - 20_000})
    bench.keeper.use(bench.settings.model_copy(update={"retention": tighter}))
    fill(bench, range(4_000, 4_500))
    ledger = Ledger.read(bench.settings.database)
    assert "readings.dropped.storage_full" not in ledger.accounts
    assert ledger.pending[Stream.READINGS] == 4_000
    assert 2_000 <= len(hours_stored(bench)) < 4_000
    bench.close()


def test_the_order_of_worth_is_that_of_the_classes() -> None:
    assert [one.stream for one in Worth][-2:] == [Stream.EVENTS, Stream.ALARMS]
    assert [one.name for one in Worth if one.around_alarms] == [
        "READINGS_AROUND_ALARMS",
        "SCORES_AROUND_ALARMS",
    ]
