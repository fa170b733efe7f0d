"""Upkeep changes files and no row; it clusters past days, and leaves what others are rewriting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_trainer.audit import audit
from foreshock_trainer.cli import cli
from foreshock_trainer.inbox import Upload
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.lake import Lake
from foreshock_trainer.rows import rows_of
from foreshock_trainer.upkeep import Caretaker, crowded_days, keep_up
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import Gap
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

READINGS = Stream.READINGS
TOPIC = uplink(Gateway("works", "gw-1"), READINGS)
DAY_NS = 86_400 * 1_000_000_000
NOW_NS = 20_000 * DAY_NS + DAY_NS // 2
COMMITS = 12


def filled(root: Path, make: Make, *days: int) -> Lake:
    """A lake with many small commits on each of the days (0: today)."""
    clock = [0]
    lake = Lake(root, create=True, now_ns=lambda: clock[0])
    first = 1
    for day in days:
        for i in range(COMMITS):
            clock[0] = NOW_NS - day * DAY_NS + i * 1_000_000
            batch = make("e1", first, 4)
            upload = Upload(Gateway("works", "gw-1"), READINGS, batch)
            lake.append(READINGS, rows_of(READINGS, [upload]), {upload.key.app_id: first + 3})
            first += 4
    return lake


def files(lake: Lake) -> list[Path]:
    return sorted(Path(lake.root, "readings").glob("date=*/*.parquet"))


def test_rows_order_and_marks_stay(tmp_path: Path, make_readings: Make) -> None:
    lake = filled(tmp_path / "lake", make_readings, 1, 0)
    before = lake.readings()

    done = keep_up(lake, now_ns=NOW_NS)

    assert (done.compacted, done.clustered_days) == (COMMITS, 1)
    assert lake.readings().equals(before)
    assert lake.mark("gw-1", "e1", READINGS) == 2 * COMMITS * 4
    assert crowded_days(lake.table(READINGS)) == {}
    again = keep_up(lake, now_ns=NOW_NS)
    assert (again.compacted, again.clustered_days) == (0, 0)


def test_a_past_day_is_clustered_by_machine(tmp_path: Path, make_readings: Make) -> None:
    lake = filled(tmp_path / "lake", make_readings, 1)
    keep_up(lake, now_ns=NOW_NS)
    table = lake.ask(READINGS, "SELECT machine FROM t")
    machines = table["machine"].to_pylist()
    assert np.count_nonzero(np.array(machines[1:]) != np.array(machines[:-1])) == 1


def test_a_replaced_file_goes_after_a_week_and_not_before(
    tmp_path: Path, make_readings: Make
) -> None:
    lake = filled(tmp_path / "lake", make_readings, 1)
    keep_up(lake, now_ns=NOW_NS)
    assert len(files(lake)) == COMMITS + 1

    # Delta counts from when the file was replaced, by the clock of this machine.
    table = lake.table(READINGS)
    gone = table.vacuum(0, dry_run=True, enforce_retention_duration=False)
    assert len(gone) == COMMITS
    assert keep_up(lake, now_ns=NOW_NS).removed == 0


def test_a_writer_that_knew_the_lake_before_goes_on(tmp_path: Path, make_readings: Make) -> None:
    lake = filled(tmp_path / "lake", make_readings, 0)
    writer = Ingest(lake)
    assert writer.take([Message(TOPIC, make_readings("e1", 49, 4).to_bytes(), 1)])
    keep_up(Lake(lake.root, create=True), now_ns=NOW_NS)

    for first in (53, 53, 57):
        answers = writer.take([Message(TOPIC, make_readings("e1", first, 4).to_bytes(), 1)])
        assert answers[0][1].seq == first + 3
    assert [one.whole for one in audit(Lake(lake.root))] == [True]
    assert writer.counters.repeats == 1


def test_the_caretaker_works_beside_a_writer_and_ends(tmp_path: Path, make_readings: Make) -> None:
    lake = filled(tmp_path / "lake", make_readings, 1)
    writer = Ingest(lake)
    caretaker = Caretaker(lambda: Lake(lake.root, create=True), lambda: NOW_NS, every_s=0.001)
    caretaker.start()
    first = COMMITS * 4 + 1
    while caretaker.times < 2:
        writer.take([Message(TOPIC, make_readings("e1", first, 4).to_bytes(), 1)])
        first += 4
    caretaker.stop()
    (account,) = audit(Lake(lake.root))
    assert (account.rows, account.whole) == (first - 1, True)


def test_an_audit_finds_what_is_missing_doubled_or_dropped(lake: Lake, make_readings: Make) -> None:
    at = Gateway("works", "gw-1")
    gap = Gap(epoch="e1", first_seq=6, last_seq=9, reason="retention")
    ingest = Ingest(lake)
    for payload in (make_readings("e1", 1, 5).to_bytes(), gap.to_bytes()):
        ingest.take([Message(TOPIC, payload, 1)])
    (account,) = audit(Lake(lake.root))
    assert (account.whole, account.mark, account.rows, account.dropped) == (True, 9, 5, 4)
    told = CliRunner().invoke(cli, ["audit", "--lake", str(lake.root)])
    assert told.stdout == "1 streams, 5 records, 4 dropped by gateways: all there\n"

    # A lake that was written by something that does not keep the rule.
    lake.forget(READINGS)
    again = Upload(at, READINGS, make_readings("e1", 4, 2))
    lake.append(READINGS, rows_of(READINGS, [again]), {again.key.app_id: 12})
    (account,) = audit(Lake(lake.root))
    assert (account.missing, account.doubled) == (3, 2)
    told = CliRunner().invoke(cli, ["audit", "--lake", str(lake.root), "--json"])
    assert isinstance(told.exception, ForeshockError)
    assert not json.loads(told.stdout)["whole"]
    assert "gw-1/e1/readings: 3 missing, 2 doubled of 12" in told.stderr


def test_the_command_says_what_it_did(tmp_path: Path, make_readings: Make) -> None:
    lake = filled(tmp_path / "lake", make_readings, 1)
    done = CliRunner().invoke(cli, ["upkeep", "--lake", str(lake.root), "--json"])
    assert json.loads(done.stdout)["clustered_days"] == 1
    short = CliRunner().invoke(cli, ["upkeep", "--lake", str(lake.root), "--keep-h", "1"])
    assert short.exit_code == 2


def test_a_lake_that_cannot_be_kept_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForeshockError, match="lake"):
        keep_up(Lake(tmp_path / "absent"), now_ns=NOW_NS)
