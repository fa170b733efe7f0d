"""Exports: official splits as Parquet and CSV, whole or not at all, with a true manifest."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from foreshock_trainer.cli import cli
from foreshock_trainer.datasets import data_set, read_sheet
from foreshock_trainer.datasets.ai4i2020 import stratified
from foreshock_trainer.datasets.base import DataError, Part, Sheet
from foreshock_trainer.datasets.export import export
from foreshock_trainer.datasets.fetch import take_from
from foreshock_trainer.splits import SplitError

NAMES = ("ai4i2020", "azure_pdm", "cmapss", "gearbox", "skab")
EXPECTED = {
    "ai4i2020": ((10_000, 339), 0),
    "azure_pdm": ((36_100, 692), 400),
    "cmapss": ((33_727, 3432), 0),
    "gearbox": ((593_152, 296_192), 2048),
    "skab": ((27_505, 6309), 60),
}
"""Rows and positives in all parts, and rows left out: known from the data sets' descriptions."""


def sheet(parts: str, groups: str, *, by_group: bool = True) -> Sheet:
    """Rows for the parts t, v, e (test) and - (none), of machines that are letters."""
    meaning = {"t": Part.TRAIN, "v": Part.VALIDATION, "e": Part.TEST, "-": Part.NONE}
    return Sheet(
        columns={
            "machine": np.array(list(groups)),
            "value": np.arange(len(parts), dtype=np.float32) / 3,
            "failed": np.arange(len(parts)) % 2 == 0,
        },
        part=np.array([meaning[one] for one in parts]),
        answers=("failed",),
        group="machine",
        time=None,
        rule="by hand",
        embargo="none",
        by_group=by_group,
    )


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            return list(csv.DictReader(lines))
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_both_formats_hold_the_same_rows_and_the_manifest_their_sums(tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = export(sheet("ttvvee-", "aabbccd"), out, {"data_set": "made"})
    assert json.loads((out / "manifest.json").read_text()) == told
    assert told["counts"]["train"] == {"rows": 2, "positives": 1, "groups": 1}
    assert (told["left_out"], told["label"], told["data_set"]) == (1, "failed", "made")
    for part, machine in (("train", "a"), ("validation", "b"), ("test", "c")):
        names = [file["name"] for file in told["files"][part]]
        assert names == [f"{part}.parquet", f"{part}.csv"]
        for file in told["files"][part]:
            body = (out / file["name"]).read_bytes()
            assert (len(body), hashlib.sha256(body).hexdigest()) == (
                *(file["size_bytes"], file["sha256"]),
            )
        parquet, text = (read(out / name) for name in names)
        assert [row["machine"] for row in parquet] == [machine] * 2
        assert [np.float32(row["value"]) for row in text] == [row["value"] for row in parquet]
        assert [row["failed"] == "true" for row in text] == [row["failed"] for row in parquet]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = sheet("tve", "abc")
    assert export(rows, tmp_path / "a", {}) == export(rows, tmp_path / "b", {})


def test_a_group_in_two_parts_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="both sides"):
        export(sheet("ttve", "aaba"), tmp_path / "out", {})
    assert list(tmp_path.iterdir()) == []
    export(sheet("ttve", "aaba", by_group=False), tmp_path / "out", {})


def test_an_empty_part_a_taken_folder_and_a_full_disk_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validation"):
        export(sheet("te", "ab"), tmp_path / "out", {})
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="already there"):
        export(sheet("tve", "abc"), tmp_path / "taken", {})
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match="cannot be written"):
        export(sheet("tve", "abc"), tmp_path / "file" / "out", {})


def test_what_a_killed_export_left_is_swept_away(tmp_path: Path) -> None:
    beside = tmp_path / ".out.new"
    beside.mkdir()
    (beside / "old.csv").write_text("half")
    export(sheet("tve", "abc"), tmp_path / "out", {})
    assert not beside.exists()
    assert not (tmp_path / "out" / "old.csv").exists()


def test_lots_are_drawn_within_each_class_and_by_the_seed_alone() -> None:
    label = np.arange(1000) % 25 == 0
    part = stratified(label, 7)
    for kind, count in ((True, 40), (False, 960)):
        assert np.count_nonzero(part[label == kind] == Part.TEST) == round(0.2 * count)
        assert np.count_nonzero(part[label == kind] == Part.VALIDATION) == round(0.16 * count)
    assert (part == stratified(label, 7)).all()
    assert (part != stratified(label, 8)).any()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.needs(f"dataset:{n}")) for n in NAMES]
)
def test_every_data_set_has_its_published_rows_in_a_split_without_its_answers(name: str) -> None:
    rows = read_sheet(data_set(name), Path(os.environ["FORESHOCK_DATA"]) / name, None)
    label = rows.columns[rows.answers[0]]
    used = rows.part != Part.NONE
    counts = (int(used.sum()), int(np.count_nonzero(label[used])))
    assert (counts, int((~used).sum())) == EXPECTED[name]
    assert {len(values) for values in rows.columns.values()} == {len(rows.part)}
    assert set(rows.answers) <= set(rows.columns)
    assert not set(rows.answers) & {"cycle", "load_percent", "torque_nm"}
    if rows.by_group and rows.group:
        groups = rows.columns[rows.group]
        sides = [set(groups[rows.part == part]) for part in ("train", "validation", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.needs("dataset:ai4i2020")
def test_the_command_writes_and_tells_where_the_rows_come_from(tmp_path: Path) -> None:
    source = Path(os.environ["FORESHOCK_DATA"]) / "ai4i2020"
    out = tmp_path / "out"
    result = CliRunner().invoke(
        cli,
        ["data", "export", "ai4i2020", "--data", str(source), "--out", str(out), "--json"],
        catch_exceptions=False,
    )
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["licence"] == "CC BY 4.0"
    assert told["sources"][0]["sha256"] == data_set("ai4i2020").files[0].sha256
    assert sum(part["rows"] for part in told["counts"].values()) == 10_000
    assert (out / "validation.parquet").is_file()


@pytest.mark.needs("dataset:skab")
def test_files_in_folders_are_taken_with_their_folders(tmp_path: Path) -> None:
    source = Path(os.environ["FORESHOCK_DATA"]) / "skab"
    files = data_set("skab").files[:2]
    assert take_from(source, tmp_path, files) == [file.name for file in files]
    assert (tmp_path / "valve1" / "0.csv").is_file()


def test_what_has_no_files_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="foreshock plant record"):
        read_sheet(data_set("plant"), tmp_path, None)
    for command in (["verify"], ["fetch"], ["export", "--out", str(tmp_path / "out")]):
        done = CliRunner().invoke(cli, ["data", *command, "plant", "--data", str(tmp_path)])
        assert "foreshock plant record" in str(done.exception)
