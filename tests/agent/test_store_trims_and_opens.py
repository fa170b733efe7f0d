from __future__ import annotations

import sqlite3
import subprocess
import sys
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.damage.opening import StoreError
from foreshock_agent.damage.quarantine import Quarantine
from foreshock_agent.items import LakeAcked
from foreshock_agent.store import chunks
from foreshock_agent.store.schema import MIGRATIONS, StoreTooNewError
from foreshock_agent.store.store import Store
from foreshock_agent.uplink.outbox import Outbox
from foreshock_wire.batch import Scores, decode
from foreshock_wire.topics import Stream
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, Ledger, healthy, sample

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlite_utils


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def readings_of(bench: Bench, machine: str) -> list[int]:
    bench.store.commit()
    found = Ledger.read(bench.settings.database).readings
    return sorted({(ns - BEGIN_NS) // MINUTE_NS for name, _, ns in found if name == machine})


def take_each(bench: Bench, messages: list[bytes], machine: str = "pump-1") -> None:
    for message in messages:
        bench.take(message, machine=machine)


def test_only_what_is_delivered_and_older_than_the_windows_goes(bench: Bench) -> None:
    take_each(bench, [healthy(1, slot) for slot in range(40)])
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-1") == list(range(40))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 20))
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-1") == list(range(20, 40))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 40))
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-1") == list(range(29, 40))
    assert Ledger.read(bench.settings.database).broken == []


def test_a_large_commit_becomes_small_chunks_that_go_up_in_order(bench: Bench) -> None:
    slots = chunks.MOST_ROWS // 2 + 7
    bench.step(*(bench.delivery(healthy(1, slot), "pump-1") for slot in range(slots)))
    bench.commit()
    with closing(sqlite3.connect(bench.settings.database)) as db:
        sizes = [len(batch) for batch in chunks.stored_readings(db)]
        ranges = db.execute("SELECT first_seq, last_seq FROM chunks ORDER BY n").fetchall()
    assert sizes == [chunks.MOST_ROWS, 14]
    assert ranges == [(1, chunks.MOST_ROWS), (chunks.MOST_ROWS + 1, 2 * slots)]
    assert readings_of(bench, "pump-1") == list(range(slots))
    assert Ledger.read(bench.settings.database).broken == []


def test_a_trim_holds_one_chunk_at_a_time(bench: Bench) -> None:
    each = 500
    for number in range(20):
        slots = range(number * each, (number + 1) * each)
        bench.step(*(bench.delivery(healthy(1, slot), "pump-1") for slot in slots))
        bench.commit()
    with closing(sqlite3.connect(bench.settings.database)) as db:
        unpacked = [batch.time_ns.nbytes * 3 for batch in chunks.stored_readings(db)]
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 20 * each))
    tracemalloc.start()
    try:
        bench.trim(10 * MINUTE_NS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(unpacked) == 20
    assert most < sum(unpacked)
    assert readings_of(bench, "pump-1") == list(range(19 * each, 20 * each))


def test_channels_that_no_window_uses_are_trimmed_too(bench: Bench) -> None:
    take_each(bench, [sample(slot, humidity=1.0) for slot in range(30)], machine="room-1")
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 30))
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "room-1") == list(range(19, 30))


def test_a_machine_that_fell_silent_keeps_its_readings_and_nobody_elses(bench: Bench) -> None:
    for slot in range(40):
        bench.step(bench.delivery(healthy(1, slot), "pump-1"))
        if slot < 15:
            bench.step(bench.delivery(healthy(2, slot), "pump-2"))
        bench.commit()
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 55))
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-1") == list(range(29, 40))
    assert readings_of(bench, "pump-2") == list(range(4, 15))
    take_each(bench, [healthy(2, slot) for slot in range(30, 40)], machine="pump-2")
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 65))
    bench.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-2") == list(range(30, 40))


def test_what_a_restart_would_replay_is_not_trimmed(bench: Bench) -> None:
    take_each(bench, [healthy(1, slot) for slot in range(40)])
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 2 * 40))
    bench.store.begin()
    bench.machines.trim(10 * MINUTE_NS)
    assert readings_of(bench, "pump-1") == list(range(40))


def test_a_trim_does_not_look_through_the_backlog(bench: Bench) -> None:
    take_each(bench, [healthy(1, slot) for slot in range(2_000)])
    bench.trim(10 * MINUTE_NS)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    bench.store._db.set_progress_handler(count, 1000)  # noqa: SLF001 - SQLite's own step count
    assert not bench.machines.trim(10 * MINUTE_NS)
    bench.store._db.set_progress_handler(None, 0)  # noqa: SLF001
    assert steps < 10
    assert readings_of(bench, "pump-1") == list(range(2_000))


def test_finished_epochs_are_forgotten_and_unfinished_ones_go_up_first(tmp_path: Path) -> None:
    first = Bench(tmp_path)
    first.take(healthy(1, 0))
    epoch = first.store.epoch
    first.close()
    for _ in range(3):
        Bench(tmp_path).close()
    last = Bench(tmp_path)
    known = last.store._db.execute("SELECT epoch FROM epochs ORDER BY n").fetchall()  # noqa: SLF001
    assert known == [(epoch,), (last.store.epoch,)]
    last.take(healthy(1, 1))
    outbox = Outbox(last.settings.database)
    parcel = outbox.next_parcel(Stream.READINGS, {}, 10)
    assert parcel is not None
    assert (parcel.epoch, parcel.first_seq, parcel.last_seq) == (epoch, 1, 2)
    parcel = outbox.next_parcel(Stream.READINGS, {epoch: 2}, 10)
    assert parcel is not None
    assert parcel.epoch == last.store.epoch
    outbox.close()
    last.close()


def test_a_score_without_a_probability_goes_up_as_nan(bench: Bench) -> None:
    bench.take(*[healthy(1, slot) for slot in range(12)])
    outbox = Outbox(bench.settings.database)
    parcel = outbox.next_parcel(Stream.SCORES, {}, 10)
    outbox.close()
    assert parcel is not None
    batch = decode(parcel.payload, Scores)
    assert list(batch.models) == ["rule"]
    assert all(value != value for value in batch.probability)  # noqa: PLR0124 - NaN
    assert all(value != value for value in batch.novelty)  # noqa: PLR0124 - NaN


def test_two_agents_cannot_share_a_folder(bench: Bench) -> None:
    with pytest.raises(StoreError, match="another agent runs on"):
        Store(bench.settings.database, 1)


def test_what_is_no_database_is_kept_and_a_fresh_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"no database" * 1000)
    store = Store(path, 1)
    (entry,) = Quarantine.of(path).entries()
    kept = Quarantine.of(path).folder / entry.name / "agent.db"
    assert kept.read_bytes().startswith(b"no database")
    assert "not a database" in entry.reason
    assert store.accounts["store.damaged"] == 1
    store.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    for folder in (taken, taken / "below"):
        with pytest.raises(StoreError, match="taken"):
            Store(folder / "agent.db", 1)


def test_a_newer_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    Store(path, 1).close()
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE news (a INTEGER)")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreTooNewError, match="version 99"):
        Store(path, 1)


def test_a_migration_that_breaks_off_leaves_the_version_before(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agent.db"
    Store(path, 1).close()

    def half(db: sqlite_utils.Database) -> None:
        db.table("half").create({"a": int})
        raise sqlite3.OperationalError("power cut")

    MIGRATIONS.append(half)
    try:
        with pytest.raises(StoreError, match="power cut"):
            Store(path, 1)
    finally:
        MIGRATIONS.remove(half)
    Store(path, 1).close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    db.close()


def test_a_new_database_loads_no_pandas(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from foreshock_agent.store.store import Store; "
        f"Store(pathlib.Path({str(tmp_path / 'agent.db')!r}), 1).close(); "
        "print('sqlite_utils' in sys.modules, 'pandas' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "False"]
