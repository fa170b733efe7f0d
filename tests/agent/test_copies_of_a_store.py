"""A restored backup, and two agents on copies of one store: nothing skipped, nothing double."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from foreshock_agent.items import LakeAcked
from foreshock_trainer.lake import Lake
from foreshock_wire.topics import Stream
from tests.agent.rig import Bench, Ledger, healthy, write_settings
from tests.agent.sent_to_a_lake import assert_whole, drain, send

if TYPE_CHECKING:
    from pathlib import Path


def take(bench: Bench, machine: int, slots: range) -> None:
    """Store a message a slot, ten in a commit."""
    for first in range(slots.start, slots.stop, 10):
        some = range(first, first + 10)
        bench.step(*[bench.delivery(healthy(machine, slot), f"pump-{machine}") for slot in some])
        bench.commit()


def backup(bench: Bench, folder: Path) -> Path:
    """Copy the database as it is, while its agent runs, to where another agent finds it."""
    write_settings(folder)
    (folder / "data").mkdir()
    source = sqlite3.connect(bench.settings.database)
    with closing(source), closing(sqlite3.connect(folder / "data" / "agent.db")) as copy:
        source.backup(copy)
    return folder


def once(lake: Lake) -> list[tuple[str, str, int]]:
    """Return every reading of the lake, which must hold none of them twice."""
    found = lake.ask(str(Stream.READINGS), "SELECT machine, channel, time_ns FROM t").to_pylist()
    keys = [(row["machine"], row["channel"], row["time_ns"]) for row in found]
    assert len(keys) == len(set(keys))
    return keys


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), create=True)


def test_a_restored_backup_goes_on_where_it_was(tmp_path: Path, lake: Lake) -> None:
    first = Bench(tmp_path / "first")
    take(first, 1, range(100))
    answers = send(lake, first.settings.database)
    first.step(*answers)
    first.commit()
    take(first, 1, range(100, 200))  # pending in the backup
    folder = backup(first, tmp_path / "second")
    take(first, 1, range(200, 300))  # what the backup does not know
    drain(lake, first)
    first.close()

    second = Bench(folder)
    take(second, 1, range(300, 400))
    drain(lake, second)
    assert len(once(lake)) == 800
    assert_whole(lake)
    ledger = Ledger.read(second.settings.database)
    assert ledger.broken == []
    assert sum(ledger.pending.values()) == 0
    second.close()


def test_two_agents_on_copies_of_one_store_do_not_write_over_each_other(
    tmp_path: Path, lake: Lake
) -> None:
    first = Bench(tmp_path / "first")
    take(first, 1, range(100))  # pending in both
    second = Bench(backup(first, tmp_path / "second"))
    assert first.store.epoch != second.store.epoch
    for begin in range(100, 300, 50):
        take(first, 1, range(begin, begin + 50))
        take(second, 2, range(begin, begin + 50))
        drain(lake, second if begin % 100 else first)
    drain(lake, first)
    drain(lake, second)
    assert len(once(lake)) == 2 * (100 + 200 + 200)
    assert_whole(lake)
    for bench in (first, second):
        assert Ledger.read(bench.settings.database).broken == []
        bench.close()


def test_an_epoch_that_somebody_else_writes_too_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a running machine that was put back to a snapshot of itself, memory and all."""
    bench = Bench(tmp_path)
    take(bench, 1, range(20))
    bench.step(LakeAcked(bench.store.epoch, Stream.READINGS, 41))
    bench.commit()
    ledger = Ledger.read(bench.settings.database)
    assert ledger.accounts["epochs.written_elsewhere"] == 1
    assert ledger.broken == []
    assert "beyond" in caplog.text
    bench.close()
