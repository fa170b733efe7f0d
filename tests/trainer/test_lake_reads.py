from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_trainer.inbox import Upload
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.lake import Lake
from foreshock_trainer.rows import rows_of
from foreshock_trainer.tables import SCHEMAS
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import RecordBatch, UpRecord
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

HOUR_NS = 3_600_000_000_000
READINGS = Stream.READINGS


def store(lake: Lake, *batches: Readings, gateway: str = "gw-1") -> None:
    uploads = [Upload(Gateway("works", gateway), READINGS, batch) for batch in batches]
    marks = {upload.key.app_id: upload.last_seq for upload in uploads}
    lake.append(READINGS, rows_of(READINGS, uploads), marks)


def test_epochs_come_in_the_order_of_ingest_not_of_their_names(
    lake: Lake, make_readings: Make
) -> None:
    store(lake, make_readings("zzz", 1, 3))
    store(lake, make_readings("zzz", 4, 2), make_readings("mmm", 1, 2), make_readings("aaa", 1, 2))
    rows = lake.readings(columns=["epoch", "seq"]).to_pylist()
    expected = [("zzz", n) for n in range(1, 6)]
    expected += [(epoch, n) for epoch in ("mmm", "aaa") for n in (1, 2)]
    assert [(row["epoch"], row["seq"]) for row in rows] == expected


def test_alarms_of_two_epochs_in_one_commit_come_in_the_order_of_ingest(lake: Lake) -> None:
    at = Gateway("works", "gw-1")
    batches = [
        RecordBatch(epoch=epoch, records=(UpRecord(seq=1, body={"machine": "pump-1"}),))
        for epoch in ("mmm", "aaa")
    ]
    topic = uplink(at, Stream.ALARMS)
    Ingest(lake).take([Message(topic, batch.to_bytes(), 1) for batch in batches])
    assert lake.alarms()["epoch"].to_pylist() == ["mmm", "aaa"]


def test_order_does_not_need_a_clock_that_runs_forward(tmp_path: Path, make_readings: Make) -> None:
    clock = iter([1_000, 900, 800])
    lake = Lake(tmp_path / "lake", create=True, now_ns=lambda: next(clock))
    store(lake, make_readings("b", 1, 2))
    store(lake, make_readings("b", 3, 2))
    store(lake, make_readings("a", 1, 2))
    assert lake.readings()["epoch"].to_pylist() == ["b", "b", "b", "b", "a", "a"]


def test_gateways_are_kept_apart(lake: Lake, make_readings: Make) -> None:
    store(lake, make_readings("e1", 1, 2), gateway="gw-2")
    store(lake, make_readings("e1", 1, 2), gateway="gw-1")
    store(lake, make_readings("e1", 3, 1), gateway="gw-2")
    rows = lake.readings(columns=["gateway", "seq"]).to_pylist()
    assert [(row["gateway"], row["seq"]) for row in rows] == [
        ("gw-1", 1),
        ("gw-1", 2),
        ("gw-2", 1),
        ("gw-2", 2),
        ("gw-2", 3),
    ]


def test_every_column_comes_back_as_it_was_sent(lake: Lake, make_readings: Make) -> None:
    store(lake, make_readings("e1", 1, 4))
    table = lake.readings()
    assert table.column_names == SCHEMAS[READINGS].names
    row = table.slice(2, 1).to_pylist()[0]
    assert {name: row[name] for name in row if name not in ("date", "ingested_ns")} == {
        "site": "works",
        "gateway": "gw-1",
        "epoch": "e1",
        "seq": 3,
        "machine": "pump-2",
        "time_ns": 3 * HOUR_NS,
        "channel": "pressure",
        "value": 3.0,
        "received_ns": 3 * HOUR_NS + 1,
        "flags": 0,
    }


def test_a_machine_and_a_stretch_of_time_can_be_asked_for(lake: Lake, make_readings: Make) -> None:
    store(lake, make_readings("e1", 1, 20))
    assert lake.machines() == ["pump-1", "pump-2"]
    chosen = lake.readings("pump-1", since_ns=4 * HOUR_NS, until_ns=10 * HOUR_NS)
    assert chosen["seq"].to_pylist() == [4, 6, 8]
    assert len(lake.readings(["pump-1", "pump-2"])) == 20
    assert len(lake.readings([])) == 0
    assert len(lake.readings("pump-3")) == 0


@pytest.mark.parametrize("machine", ["x' OR '1'='1", "Pump", ""])
def test_a_machine_that_is_no_id_is_refused(lake: Lake, machine: str) -> None:
    with pytest.raises(ForeshockError, match="machine"):
        lake.readings(machine)


def test_an_unknown_column_is_named(lake: Lake) -> None:
    with pytest.raises(ForeshockError, match="no column colour"):
        lake.readings(columns=["seq", "colour"])


def test_an_empty_lake_reads_as_empty(lake: Lake) -> None:
    assert lake.machines() == []
    tables = [lake.readings(), lake.scores(), lake.alarms(), lake.events(), lake.gaps()]
    assert [len(table) for table in [*tables, lake.quarantine()]] == [0] * 6
    assert set(lake.version().values()) == {0}
