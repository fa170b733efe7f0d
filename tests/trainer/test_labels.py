from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from foreshock_trainer.examples import work_orders
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.label_files import add_labels, read_labels
from foreshock_trainer.labels import (
    ANSWER,
    Kind,
    Label,
    LabelError,
    labels_of,
)
from foreshock_trainer.labels_cli import labels as command
from foreshock_trainer.lake import Lake
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import AlarmAnswer, AlarmAnswered, RecordBatch, UpRecord
from foreshock_wire.times import time_ns
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "machine,time,kind,mode,detail\n"
FAILURE = "pump-1,2024-01-02T03:04:05Z,failure,bearing_wear,\n"
SERVICE = 'pump-1,2024-01-01T00:00:00Z,maintenance,,"grease, by hand"\n'


def write(folder: Path, *rows: str, header: str = HEADER, name: str = "events.csv") -> Path:
    file = folder / name
    file.write_text(header + "".join(rows))
    return file


def test_labels_come_back_by_machine_and_time(lake: Lake, tmp_path: Path) -> None:
    report = add_labels(lake, write(tmp_path, FAILURE, SERVICE))
    assert (report.added, report.known, report.refused) == (2, 0, ())
    assert labels_of(lake) == [
        Label("pump-1", 1_704_067_200_000_000_000, Kind.MAINTENANCE, None, "grease, by hand"),
        Label("pump-1", 1_704_164_645_000_000_000, Kind.FAILURE, "bearing_wear", None),
    ]
    assert lake.events()["source"].to_pylist() == ["labels", "labels"]


def test_a_row_is_added_once_in_one_file_and_in_two(lake: Lake, tmp_path: Path) -> None:
    first = add_labels(lake, write(tmp_path, FAILURE, FAILURE))
    second = add_labels(Lake(lake.root), write(tmp_path, SERVICE, FAILURE, name="more.csv"))
    assert (first.added, first.known) == (1, 1)
    assert (second.added, second.known) == (1, 1)
    assert len(labels_of(lake)) == 2


def test_two_writers_at_once_add_a_row_once(lake: Lake, tmp_path: Path) -> None:
    """The other's snapshot is from before: its commit is refused and decided again."""
    other = Lake(lake.root)
    other.transaction("events", "labels")
    add_labels(lake, write(tmp_path, FAILURE))
    report = add_labels(other, write(tmp_path, FAILURE, SERVICE))
    assert (report.added, report.known) == (1, 1)
    assert len(labels_of(lake)) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Pump 1,2024-01-01T00:00:00Z,failure,,\n", "machine 'Pump 1'"),
        ("pump-1,2024-01-01T00:00:00,failure,,\n", "no offset: add Z"),
        ("pump-1,01/02/2024,failure,,\n", "not RFC 3339"),
        ("pump-1,,failure,,\n", "not RFC 3339"),
        ("pump-1,9999-01-01T00:00:00Z,failure,,\n", "not within"),
        ("pump-1,2024-01-01T00:00:00Z,broken,,\n", "kind 'broken' is none of failure"),
        ("pump-1,2024-01-01T00:00:00Z,failure\n", "as many fields as the header"),
        ("pump-1,2024-01-01T00:00:00Z,failure,,,,\n", "as many fields as the header"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_the_rest_is_kept(
    lake: Lake, tmp_path: Path, row: str, reason: str
) -> None:
    report = add_labels(lake, write(tmp_path, FAILURE, row, SERVICE))
    assert [bad.line for bad in report.refused] == [3]
    assert reason in report.refused[0].reason
    assert report.added == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"machine,time,kind\n", "has no column detail, mode"),
        (b"", "has no column"),
        (b"machine,time,kind,mode,detail\n\xff\xfe", "UTF-8"),
        (b'machine,time,kind,mode,detail\n"open', "cannot read"),
    ],
)
def test_a_file_that_is_no_table_of_labels_is_refused(
    tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "events.csv"
    file.write_bytes(content)
    with pytest.raises(LabelError, match=says):
        read_labels(file)


def test_a_spreadsheets_byte_order_mark_and_extra_columns_are_no_obstacle(tmp_path: Path) -> None:
    header = "\ufefforder,machine,time,kind,mode,detail\n"
    found, refused = read_labels(write(tmp_path, f"17,{FAILURE}", header=header))
    assert (len(found), refused) == (1, [])


def test_an_offset_is_counted_in() -> None:
    assert time_ns("2024-01-01T01:00:00+01:00") == time_ns("2024-01-01T00:00:00Z")


def test_the_command_adds_lists_and_names_what_it_left_out(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    file = write(tmp_path, FAILURE, "pump-1,now,failure,,\n")
    result = CliRunner().invoke(command, ["add", str(file), "--lake", root, "--json"])
    assert isinstance(result.exception, ForeshockError)
    assert "1 rows of" in str(result.exception)
    assert "events.csv:3: time 'now'" in result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["added"] == 1
    listed = CliRunner().invoke(command, ["list", "--lake", root, "--json"])
    assert json.loads(listed.stdout)["labels"] == [
        {
            "machine": "pump-1",
            "time": "2024-01-02T03:04:05Z",
            "kind": "failure",
            "mode": "bearing_wear",
            "detail": None,
            "source": "labels",
        }
    ]


def parquet(folder: Path, **columns: object) -> Path:
    file = folder / "orders.parquet"
    pq.write_table(pa.table(columns), file)
    return file


def test_parquet_is_read_as_csv_is(lake: Lake, tmp_path: Path) -> None:
    when = [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)]
    file = parquet(
        tmp_path,
        machine=["pump-1", "pump-1"],
        time=pa.array(when, pa.timestamp("ms", "Europe/Berlin")),
        kind=["failure", "maintenance"],
        mode=["bearing_wear", None],
        detail=[None, "grease, by hand"],
        cost=[1.5, 2.5],
    )
    add_labels(lake, file)
    report = add_labels(lake, write(tmp_path, FAILURE, SERVICE))
    assert (report.added, report.known) == (0, 2)


def test_a_parquet_time_without_a_zone_is_refused_by_its_row(tmp_path: Path) -> None:
    texts = {name: ["failure"] for name in ("kind", "mode", "detail")}
    when = pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("us"))
    found, refused = read_labels(parquet(tmp_path, machine=["pump-1"], time=when, **texts))
    assert found == []
    assert (refused[0].line, "no offset" in refused[0].reason) == (1, True)


@pytest.mark.parametrize("columns", [{"machine": ["pump-1"]}, None])
def test_a_parquet_file_that_is_none_is_refused(
    tmp_path: Path, columns: dict[str, list[str]] | None
) -> None:
    file = parquet(tmp_path, **columns) if columns else tmp_path / "orders.parquet"
    if columns is None:
        file.write_bytes(b"PAR1 and then nonsense")
    with pytest.raises(LabelError, match=r"orders\.parquet"):
        read_labels(file)


ALARM = {"machine": "pump-1", "time_ns": 5_000_000_000, "episode": 1, "state": "unacknowledged"}


def send(lake: Lake, stream: Stream, *bodies: dict[str, object]) -> None:
    records = tuple(
        UpRecord.model_validate({"seq": seq, "body": body}) for seq, body in enumerate(bodies, 1)
    )
    batch = RecordBatch(epoch="e1", records=records)
    Ingest(lake).take([Message(uplink(Gateway("works", "gw-1"), stream), batch.to_bytes(), 1)])


def test_an_answer_that_came_up_from_a_gateway_is_a_label(lake: Lake) -> None:
    answered = AlarmAnswered(
        machine="pump-1",
        time_ns=7_000_000_000,
        kind=AlarmAnswer.REPAIRED,
        mode="bearing_wear",
        detail="pitted race",
        episode=1,
    )
    send(lake, Stream.EVENTS, answered.model_dump(mode="json"), {"kind": "started"})
    assert labels_of(lake) == [
        Label("pump-1", 7_000_000_000, Kind.REPAIRED, "bearing_wear", "pitted race", ANSWER)
    ]


def test_an_answer_vouches_neither_for_its_machine_nor_for_the_time_until_then(
    lake: Lake, tmp_path: Path
) -> None:
    add_labels(lake, write(tmp_path, FAILURE))
    told_ns = work_orders(lake).told_ns
    answers: list[dict[str, object]] = [
        {"machine": machine, "time_ns": 9, "kind": "false_alarm", "source": "answer"}
        for machine in ("pump-1", "pump-2")
    ]
    send(lake, Stream.EVENTS, *answers)

    orders = work_orders(lake)

    assert orders.told_ns == told_ns
    assert set(orders.events) == {"pump-1"}
    assert {event.kind for event in orders.events["pump-1"]} == {"failure", "false_alarm"}


def test_the_command_answers_the_newest_alarm_and_refuses_where_there_is_none(lake: Lake) -> None:
    root = str(lake.root)
    send(lake, Stream.ALARMS, ALARM, ALARM | {"time_ns": 8_000_000_000, "state": "acknowledged"})
    told = ["--found", "nothing", "--lake", root, "--json"]

    done = CliRunner().invoke(command, ["answer", "pump-1", "false_alarm", *told])
    early = ["--time", "1970-01-01T00:00:01Z", "--lake", root]
    refused = CliRunner().invoke(command, ["answer", "pump-1", "confirmed", *early])
    other = CliRunner().invoke(command, ["answer", "pump-2", "confirmed", "--lake", root])

    assert json.loads(done.stdout) == {
        "machine": "pump-1",
        "time": "1970-01-01T00:00:08Z",
        "kind": "false_alarm",
        "mode": None,
        "detail": "nothing",
        "source": "answer",
    }
    assert "no alarm of machine pump-1 by 1970-01-01T00:00:01Z" in str(refused.exception)
    assert "no alarm of machine pump-2:" in str(other.exception)
    listed = CliRunner().invoke(command, ["list", "--lake", root, "--machine", "pump-1"])
    assert listed.stdout.splitlines()[-1] == "1 labels"
