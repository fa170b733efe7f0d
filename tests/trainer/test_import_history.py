"""A newcomer's file: what it holds is guessed where that is certain, and else asked for by name."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from foreshock_trainer.audit import audit
from foreshock_trainer.cli import cli
from foreshock_trainer.datasets import data_set, read_sheet
from foreshock_trainer.datasets.export import export
from foreshock_trainer.history.importing import Asked, proposal, refuse_too_little
from foreshock_trainer.history.into_lake import put_history
from foreshock_trainer.history.lives import id_of
from foreshock_trainer.history.plan import HistoryError, Sensor
from foreshock_trainer.history.times import COUNTER_START_NS, UNREADABLE, guess, utc_ns
from foreshock_trainer.labels import labels_of
from foreshock_trainer.lake import Lake, LakeError
from foreshock_trainer.leaks import LeakError
from foreshock_trainer.splits import SplitError

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR = 3_600_000_000_000
NOON = int(datetime(2024, 1, 31, 12, tzinfo=UTC).timestamp()) * 1_000_000_000


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def small(path: Path, *, status: Sequence[str] = ("ok", "ok", "down", "ok", "ok")) -> Path:
    """Two machines, five hours each, of which the first goes down for an hour."""
    rows = [
        f"{machine},2024-01-31T{12 + i}:00:00Z,{i * 1.5},{state if machine == 'P 1' else 'ok'}"
        for machine in ("P 1", "P 2")
        for i, state in enumerate(status)
    ]
    return write(path, "Machine,Time,Temp [degC],Status", *rows)


@pytest.mark.parametrize(
    ("cells", "zone"),
    [
        (["2024-01-31T12:00:00Z"], "UTC"),
        (["2024-01-31 13:00:00+01:00"], "UTC"),
        (["2024-01-31 13:00"], "Europe/Berlin"),
        (["2024-01-31T12:00:00Z", "2024-01-31T13:00:00"], "Europe/Berlin"),
        (["31.01.2024 12:00"], "UTC"),
        (["31/01/2024 12:00:00"], "UTC"),
        (["01/31/2024 12:00"], "UTC"),
        ([NOON // 10**9], "UTC"),
        ([NOON // 10**6], "UTC"),
        ([NOON // 10**3], "UTC"),
        ([NOON], "UTC"),
        ([NOON / 1e9], "UTC"),
        ([datetime(2024, 1, 31, 12, tzinfo=UTC)], "UTC"),
        ([datetime(2024, 1, 31, 13)], "Europe/Berlin"),  # noqa: DTZ001 - as Arrow infers from CSV
    ],
)
def test_a_time_is_the_same_however_it_is_written(cells: list[object], zone: str) -> None:
    column = pa.chunked_array([pa.array(cells)])
    assert set(utc_ns(column, guess("when", column, zone)).tolist()) == {NOON}


def test_a_counter_of_cycles_counts_hours_and_a_bad_cell_stays_alone() -> None:
    cycles = pa.chunked_array([pa.array([1, 2, 3])])
    assert utc_ns(cycles, guess("cycle", cycles)).tolist() == [
        COUNTER_START_NS + n * HOUR for n in (1, 2, 3)
    ]
    texts = pa.chunked_array([pa.array(["2024-01-31T12:00:00Z"] * 200 + ["yesterday", None])])
    assert utc_ns(texts, guess("when", texts)).tolist() == [NOON] * 200 + [UNREADABLE] * 2


def test_a_day_that_may_be_a_month_is_asked_for_and_so_is_nonsense() -> None:
    both = pa.chunked_array([pa.array(["01/02/2024 10:00", "03/04/2024 11:00"])])
    with pytest.raises(HistoryError, match="--time-format"):
        guess("when", both)
    with pytest.raises(HistoryError, match="'soon', which is no time"):
        guess("when", pa.chunked_array([pa.array(["soon"])]))
    stamps = pa.chunked_array([pa.array(["2024-01-31 13:00"])])
    with pytest.raises(HistoryError, match="Mars/Phobos"):
        guess("when", stamps, "Mars/Phobos")


def test_the_hour_that_a_clock_repeats_or_skips_does_not_stop_an_import() -> None:
    column = pa.chunked_array([pa.array(["2024-10-27 02:30", "2024-03-31 02:30"])])
    found = utc_ns(column, guess("when", column, "Europe/Berlin"))
    stamps = [datetime(2024, 10, 27, 0, 30, tzinfo=UTC), datetime(2024, 3, 31, 1, tzinfo=UTC)]
    assert found.tolist() == [int(one.timestamp()) * 10**9 for one in stamps]


@pytest.mark.parametrize("kind", ["csv", "semicolon", "latin1", "gz", "parquet"])
def test_a_table_is_the_same_in_every_usual_form(tmp_path: Path, kind: str) -> None:
    plain = small(tmp_path / "plain.csv")
    expected = proposal(Asked(file=plain))
    text = plain.read_text()
    other = tmp_path / f"history.{'parquet' if kind == 'parquet' else 'csv'}"
    if kind == "semicolon":
        rows = [line.split(",") for line in text.splitlines()]
        other.write_text(
            "\n".join(";".join(r).replace(".5", ",5").replace(".0", ",0") for r in rows)
        )
    elif kind == "latin1":
        other.write_bytes(text.replace("degC", "\N{DEGREE SIGN}C").encode("latin1"))
    elif kind == "gz":
        other = tmp_path / "history.csv.gz"
        other.write_bytes(gzip.compress(text.encode()))
    elif kind == "parquet":
        pq.write_table(pa_csv.read_csv(plain), other)
    else:
        other.write_text("\ufeff" + text, encoding="utf-8")
    found = proposal(Asked(file=other))
    assert (found.lives.values == expected.lives.values).all()
    assert found.labels == expected.labels
    unit = "\N{DEGREE SIGN}C" if kind == "latin1" else "degC"
    assert found.plan.sensors == (Sensor(f"Temp [{unit}]", f"temp:{unit}"),)


def test_a_state_that_is_neither_normal_nor_usual_is_a_failure_from_its_first_row(
    tmp_path: Path,
) -> None:
    found = proposal(Asked(file=small(tmp_path / "history.csv")))
    assert found.failed == {"p-1": 1, "p-2": 0}
    told = [(one.machine, one.kind, (one.time_ns - NOON) // HOUR) for one in found.labels]
    assert told == [
        *[("p-1", "installed", -1), ("p-1", "failure", 2), ("p-1", "repaired", 3)],
        *[("p-1", "observed_until", 4), ("p-2", "installed", -1), ("p-2", "observed_until", 4)],
    ]


@pytest.mark.parametrize(("up", "down"), [("0", "1"), ("False", "True"), ("running", "tripped")])
def test_a_column_that_is_named_alone_says_itself_what_means_down(
    tmp_path: Path, up: str, down: str
) -> None:
    rows = [f"{m},{i},{i % 2},{down if i == 4 else up}" for m in "ab" for i in range(8)]
    file = write(tmp_path / "history.csv", "unit,cycle,s1,flagged", *rows)
    found = proposal(Asked(file=file, failure=("flagged", ())))
    assert found.failed == {"a": 1, "b": 1}
    assert [sensor.id for sensor in found.plan.sensors] == ["s1"]
    with pytest.raises(HistoryError, match="--failure s1=VALUE"):
        proposal(Asked(file=file, failure=("s1", ())))


def test_a_list_of_failures_is_read_with_its_own_words(tmp_path: Path) -> None:
    history = small(tmp_path / "history.csv")
    failures = write(
        tmp_path / "failures.csv",
        "datetime,machineID,failure",
        "2024-01-31 13:30:00,P 1,Seal Leak",
        "2024-01-31 13:00:00,P 9,unknown machine",
    )
    found = proposal(Asked(file=history, failures=failures, maintenance=failures))
    told = [(one.kind, one.time_ns - NOON, one.mode) for one in found.labels if one.mode]
    assert told == [
        ("failure", round(1.5 * HOUR), "seal-leak"),
        ("maintenance", round(1.5 * HOUR), "seal-leak"),
    ]
    assert ("repaired", 2 * HOUR) in [(one.kind, one.time_ns - NOON) for one in found.labels]
    assert "Status" in {one.column for one in found.left_out}


def test_a_count_to_zero_and_a_last_row_are_failures(tmp_path: Path) -> None:
    rows = [f"{unit},{i},{i % 3},{4 - i}" for unit in (1, 2) for i in range(1, 5)]
    file = write(tmp_path / "history.csv", "unit,cycle,s1,RUL", *rows)
    assert proposal(Asked(file=file)).failed == {"1": 1, "2": 1}
    last = proposal(Asked(file=file, run_to_failure=True))
    when = {one.time_ns for one in last.labels if one.kind == "failure"}
    assert when == {COUNTER_START_NS + 5 * HOUR}
    assert [one.column for one in last.left_out] == ["RUL"]
    assert [one.column for one in last.plan.sensors] == ["s1"]


def test_rows_are_sorted_counted_and_what_is_wrong_with_them_is_told(tmp_path: Path) -> None:
    def row(machine: str, hour: float, value: str) -> str:
        when = datetime.fromtimestamp(NOON / 1e9, UTC) + timedelta(hours=hour)
        return f"{machine},{when.isoformat()},{value},0"

    good = [row("a", hour, str(hour)) for hour in (3, 1, 2, 0, 40)]
    many = [row("b", hour, str(hour)) for hour in range(200)]
    file = write(
        tmp_path / "history.csv",
        "machine,time,value,failed",
        *good,
        row("a", 1, "1"),
        row("a", 1, "7"),
        *[row("a", 4, ""), row("", 5, "1"), "a,never,1,1"],
        *many,
    )
    found = proposal(Asked(file=file))
    counts = found.lives.counts
    assert found.lives.values[:6, 0].tolist()[:4] == [0, 1, 2, 3]
    assert np.isnan(found.lives.values[4, 0])
    assert (counts.rows, counts.duplicates, counts.contradictions) == (210, 2, 1)
    assert (counts.unreadable_times, counts.nameless, counts.missing_cells) == (1, 1, 1)
    assert (counts.gaps, counts.longest_gap_s) == (1, 36 * 3600)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("Time,value,failed", "no column that looks like a machine"),
        ("Machine,value,failed", "no column that looks like a time"),
        ("Machine,Time,value", "no column that tells of failures"),
    ],
)
def test_what_is_not_there_is_asked_for_with_its_option(
    tmp_path: Path, header: str, problem: str
) -> None:
    cells = {"Time": "2024-01-31T12:00:00Z", "Machine": "a", "value": "1", "failed": "0"}
    row = ",".join(cells[name] for name in header.split(","))
    file = write(tmp_path / "history.csv", header, row)
    with pytest.raises(HistoryError, match=f"{problem}.*--"):
        proposal(Asked(file=file))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "cannot be read as a table"), ("a,b\n", "no row"), ("a,a\n1,2\n", "same name")],
)
def test_no_table_is_told(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "history.csv"
    file.write_text(text)
    with pytest.raises(HistoryError, match=problem):
        proposal(Asked(file=file))
    with pytest.raises(HistoryError, match="cannot be read"):
        proposal(Asked(file=tmp_path / "nowhere.csv"))


def test_machines_that_become_one_id_are_refused() -> None:
    assert id_of("Pump #7 (North)") == "pump-7-north"


def test_two_names_with_one_id_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "h.csv", "machine,time,v,failed", "A 1,1,1,0", "a-1,1,2,1", "b,1,1,0")
    with pytest.raises(HistoryError, match="'A 1', 'a-1' cannot be told apart"):
        proposal(Asked(file=file))


def fleet(path: Path, machines: int, failing: int, *, secret: bool = False) -> Path:
    """Machines that run 120 hours; some warm up for a day before they fail, then run again."""
    chance = np.random.default_rng(0)
    lines = ["machine,timestamp,temp [degC],flow,failed" + (",code" if secret else "")]
    for number in range(machines):
        ends = [60, 110] if number < failing else []
        for hour in range(120):
            left = min((end - hour for end in ends if end >= hour), default=99)
            temp = 50 + 0.3 * max(0, 24 - left) + 2 * chance.normal()
            down = hour in ends
            cells = [f"m{number:02d}", str(1_700_000_000 + 3600 * hour), f"{temp:.3f}"]
            cells += [f"{chance.normal():.3f}", str(int(down))]
            lines.append(",".join(cells + [str(int(left <= 8))] * secret))
    return write(path, *lines)


def test_too_little_is_told_before_anything_is_written(tmp_path: Path) -> None:
    none = proposal(Asked(file=fleet(tmp_path / "none.csv", 3, 2), failure=("failed", ("2",))))
    with pytest.raises(HistoryError, match="no machine failed"):
        refuse_too_little(none)
    few = proposal(Asked(file=fleet(tmp_path / "few.csv", 30, 1)))
    with pytest.raises(HistoryError, match="too few failures: 2 on 30 machines"):
        refuse_too_little(few)
    one = proposal(Asked(file=fleet(tmp_path / "one.csv", 1, 1)))
    with pytest.raises(SplitError, match="record more machines"):
        refuse_too_little(one)


def test_an_import_that_broke_off_goes_on_and_every_reading_is_there_once(tmp_path: Path) -> None:
    found = proposal(Asked(file=fleet(tmp_path / "history.csv", 50, 20)))
    ids = [sensor.id for sensor in found.plan.sensors]
    lake = Lake(tmp_path / "lake", create=True)
    seen: list[int] = []

    def die(rows: int) -> None:
        seen.append(rows)
        raise LakeError("the power went")

    with pytest.raises(LakeError):
        put_history(lake, found.lives, ids, found.labels, die)
    again = put_history(Lake(tmp_path / "lake"), found.lives, ids, found.labels, seen.append)
    assert put_history(Lake(tmp_path / "lake"), found.lives, ids, found.labels) == 0
    readings = Lake(tmp_path / "lake").readings(columns=("machine", "time_ns", "channel", "value"))
    keys = zip(
        *(readings[name].to_pylist() for name in ("machine", "time_ns", "channel")), strict=True
    )
    assert len(readings) == len(set(keys)) == 50 * 120 * 2
    assert readings["value"].to_numpy().sum(dtype=np.float64) == pytest.approx(
        found.lives.values.sum(dtype=np.float64)
    )
    assert again < len(readings)  # the rest had been committed before
    assert all(account.whole for account in audit(lake))
    assert len(labels_of(lake)) == len(found.labels)


def test_from_a_file_to_figures_and_again_at_once(tmp_path: Path) -> None:
    file = fleet(tmp_path / "history.csv", 40, 30)
    arguments = ["import", str(file), "--out", str(tmp_path / "out"), "--json"]
    asked = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert json.loads(asked.stdout.splitlines()[-1])["proposal"]["failures"] == 60
    assert not (tmp_path / "out").exists()

    done = CliRunner().invoke(cli, [*arguments, "--yes"], catch_exceptions=False)

    told = json.loads(done.stdout.splitlines()[-1])
    assert told["result"]["metrics"]["f1"] > 0.7 > told["result"]["baseline"]["always_yes_f1"]
    assert told["readings"] == 40 * 120 * 2
    assert "<html" in Path(told["page"]).read_text()
    again = CliRunner().invoke(cli, [*arguments, "--yes"], catch_exceptions=False)
    assert json.loads(again.stdout.splitlines()[-1]) == told | {"resumed": True, "readings": 0}


def test_a_column_that_knows_the_answer_is_refused_with_its_name(tmp_path: Path) -> None:
    file = fleet(tmp_path / "history.csv", 40, 30, secret=True)
    arguments = ["import", str(file), "--out", str(tmp_path / "out"), "--yes"]
    refused = CliRunner().invoke(cli, arguments)
    assert isinstance(refused.exception, LeakError)
    assert "label among the features: 'code." in str(refused.exception)
    assert not list((tmp_path / "out").glob("*/report.html"))


@pytest.mark.needs("dataset:azure_pdm")
def test_azures_files_are_understood_as_they_are() -> None:
    folder = Path(os.environ["FORESHOCK_DATA"]) / "azure_pdm"
    found = proposal(
        Asked(
            file=folder / "PdM_telemetry_PARTIAL_hourly.csv.gz",
            failures=folder / "PdM_failures.csv",
            maintenance=folder / "PdM_maint.csv",
        )
    )
    kinds = Counter(str(label.kind) for label in found.labels)
    assert (kinds["failure"], kinds["maintenance"]) == (761, 3286)
    assert {label.mode for label in found.labels if label.kind == "failure"} == {
        f"comp{i}" for i in range(1, 5)
    }
    assert len(found.lives.machine) == 138_947
    assert [one.id for one in found.plan.sensors] == ["volt", "rotate", "pressure", "vibration"]
    assert (found.plan.machine, found.lives.step_ns) == ("machineID", HOUR)
    refuse_too_little(found)


@pytest.mark.needs("dataset:cmapss")
def test_engines_that_run_to_failure_keep_their_answers_out_of_the_sensors(tmp_path: Path) -> None:
    folder = Path(os.environ["FORESHOCK_DATA"]) / "cmapss"
    export(read_sheet(data_set("cmapss"), folder, "FD001"), tmp_path / "out", {})
    found = proposal(Asked(file=tmp_path / "out" / "train.csv"))
    engines = len(found.failed)
    assert set(found.failed.values()) == {1}
    assert (found.plan.time, found.plan.failures.column) == ("cycle", "cycles_left")
    assert found.cut.horizon_h == 30
    assert "fails_within_30" in {one.column for one in found.left_out}
    counted = proposal(Asked(file=tmp_path / "out" / "train.csv", run_to_failure=True))
    assert len(counted.failed) == engines
    assert not {"fails_within_30", "cycles_left"} & {one.column for one in counted.plan.sensors}
