from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from foreshock_trainer.ingest_cli import labels as command
from foreshock_trainer.labels import (
    Kind,
    Label,
    LabelError,
    add_labels,
    labels_of,
    read_labels,
    time_ns,
    time_text,
)
from foreshock_trainer.lake import Lake
from foreshock_wire.errors import ForeshockError

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
        ("pump-1,2024-01-01T00:00:00Z,failure\n", "5 fields"),
        ("pump-1,2024-01-01T00:00:00Z,failure,,,,\n", "5 fields"),
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


@given(st.datetimes(datetime(1700, 1, 1), datetime(2261, 12, 31)))  # noqa: DTZ001 - made aware below
def test_times_survive_their_text(moment: datetime) -> None:
    text = moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert time_text(time_ns(text)) == text


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
        }
    ]
