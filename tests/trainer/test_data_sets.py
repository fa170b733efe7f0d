"""Files of a data set: what is missing, partial or altered is told by name; C-MAPSS is read."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_rules.windows import WindowSpec, windows_of
from foreshock_trainer.cli import cli
from foreshock_trainer.datasets import REGISTRY, data_set, read_fleet
from foreshock_trainer.datasets.base import DataError, DataFile, Fleet, Life
from foreshock_trainer.datasets.channels import constant
from foreshock_trainer.datasets.cmapss import HOUR_NS, START_NS
from foreshock_trainer.datasets.fetch import take_from
from foreshock_trainer.datasets.files import State, verify
from foreshock_wire.recorded import read_batches
from foreshock_wire.spec import Channel

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = b"1 1 0.5\n" * 500
FILE = DataFile("rows.txt", len(TEXT), hashlib.sha256(TEXT).hexdigest())


def plain(folder: Path, data: bytes) -> None:
    (folder / "rows.txt").write_bytes(data)


def zipped(folder: Path, data: bytes) -> None:
    (folder / "rows.txt.gz").write_bytes(gzip.compress(data))


@pytest.mark.parametrize("put", [plain, zipped])
@pytest.mark.parametrize(
    ("data", "state"),
    [
        (TEXT, State.WHOLE),
        (TEXT[:-1], State.PARTIAL),
        (b"", State.PARTIAL),
        (TEXT[:-1] + b"2", State.ALTERED),
        (TEXT + b"1", State.ALTERED),
    ],
)
def test_a_file_is_what_its_bytes_are_plain_or_zipped(
    tmp_path: Path, put: Callable[[Path, bytes], None], data: bytes, state: State
) -> None:
    put(tmp_path, data)
    (found,) = verify(tmp_path, [FILE])
    assert found.state is state
    assert ("rows.txt" in found.problem) is (state is not State.WHOLE)


def test_a_zipped_file_that_breaks_off_is_partial_and_a_damaged_one_altered(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(4000)
    file = DataFile("rows.txt", len(noise), hashlib.sha256(noise).hexdigest())
    packed = gzip.compress(noise)
    (tmp_path / "rows.txt.gz").write_bytes(packed[: len(packed) // 2])
    assert verify(tmp_path, [file])[0].state is State.PARTIAL
    (tmp_path / "rows.txt.gz").write_bytes(b"no gzip at all")
    assert verify(tmp_path, [file])[0].state is State.ALTERED


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (found,) = verify(tmp_path, [FILE])
    assert found.state is State.MISSING
    assert str(tmp_path / "rows.txt") in found.problem


def test_files_are_taken_whole_out_of_a_folder_or_not_at_all(tmp_path: Path) -> None:
    source, folder = tmp_path / "have", tmp_path / "want"
    source.mkdir()
    zipped(source, TEXT)
    assert take_from(source, folder, [FILE]) == ["rows.txt"]
    assert (folder / "rows.txt").read_bytes() == TEXT
    assert take_from(source, folder, [FILE]) == []
    plain(source, TEXT[:-3])
    plain(folder, b"mine")
    with pytest.raises(DataError, match="cut short"):
        take_from(source, folder, [FILE])
    assert (folder / "rows.txt").read_bytes() == b"mine"


def test_every_entry_of_the_registry_says_where_it_comes_from() -> None:
    for name, one in REGISTRY.items():
        assert one.name == name
        assert one.page.startswith("https://") or not one.files
        assert one.licence
        assert one.protocol
        assert bool(one.files) is bool(one.sheet)
        assert all(len(file.sha256) == 64 and file.size_bytes > 0 for file in one.files)
        assert len({file.name for file in one.files}) == len(one.files)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="cmapss"):
        data_set("cmaps")
    with pytest.raises(DataError, match="FD001, FD003"):
        data_set("cmapss").files_of("FD009")


def test_verify_names_each_file_and_the_way_out(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["data", "verify", "cmapss", "--data", str(tmp_path)])
    assert result.exit_code == 1
    for file in data_set("cmapss").files:
        assert f"{tmp_path / file.name} is missing" in result.output
    assert "foreshock trainer data fetch cmapss" in str(result.exception)


def test_list_tells_every_entry_in_json() -> None:
    result = CliRunner().invoke(cli, ["data", "list", "--json"], catch_exceptions=False)
    told = {one["name"]: one for one in json.loads(result.stdout)["data_sets"]}
    assert set(told) == {"cmapss", "ai4i2020", "azure_pdm", "skab", "gearbox", "plant"}
    assert {file["subset"] for file in told["cmapss"]["files"]} == {"FD001", "FD003"}


def fleet(values: list[list[float]]) -> Fleet:
    """One machine that trains, a list of values per channel, and one that tests and moves."""
    count = len(values[0])
    life = Life(
        machine="a",
        channel=np.repeat(np.arange(len(values)), count),
        time_ns=np.arange(count * len(values)),
        value=np.array(values, np.float32).reshape(-1),
        end_ns=count,
        failure_ns=count,
    )
    moving = Life(
        "b", life.channel, life.time_ns, np.arange(len(life.value), dtype=np.float32), 1, 2
    )
    channels = tuple(Channel(f"c{i}", "1") for i in range(len(values)))
    return Fleet(channels, (life,), (moving,), "wear", "c0", (), 1.0, 2.0, 3)


def test_a_channel_is_constant_by_its_training_machines_alone() -> None:
    still, nearly, moving = [5.0] * 100, [5.0] * 96 + [6.0] * 4, [5.0] * 94 + [6.0] * 6
    assert constant(fleet([still, nearly, moving])) == (0, 1)


def test_channels_keep_their_readings_when_others_go() -> None:
    kept = fleet([[1, 2], [3, 4], [5, 6]]).only([2, 0])
    assert [channel.id for channel in kept.channels] == ["c2", "c0"]
    assert kept.train[0].value[kept.train[0].channel == 0].tolist() == [5, 6]
    assert kept.train[0].value[kept.train[0].channel == 1].tolist() == [1, 2]
    assert len(kept.train[0].value) == 4


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["FORESHOCK_DATA"]) / "cmapss"


@pytest.mark.needs("dataset:cmapss")
def test_the_engines_are_those_of_the_files(folder: Path) -> None:
    found = read_fleet(data_set("cmapss"), folder, "FD001")
    hours = [(life.end_ns - START_NS) // HOUR_NS for life in (*found.train, *found.test)]
    assert (len(found.train), len(found.test)) == (100, 100)
    assert (sum(hours[:100]), sum(hours[100:]), min(hours[100:])) == (20_631, 13_096, 31)
    assert all(life.failure_ns == life.end_ns for life in found.train)
    left = [(life.failure_ns - life.end_ns) // HOUR_NS for life in found.test]
    assert (left[:3], sum(hours <= 30 for hours in left)) == ([112, 98, 69], 25)
    first = found.train[0]
    names = [channel.id for channel in found.channels]
    assert first.value[names.index("t24")] == np.float32(641.82)
    assert first.value[names.index("w32")] == np.float32(23.4190)


@pytest.mark.needs("dataset:cmapss")
def test_a_counter_at_the_cycles_end_makes_every_recorded_cycle_a_window(folder: Path) -> None:
    found = read_fleet(data_set("cmapss"), folder, "FD001").some(1, 3)
    cut = WindowSpec(tuple(c.id for c in found.channels), HOUR_NS, 30, 1, 0.02)
    for life in (*found.train, *found.test):
        ends, windows = windows_of(cut, life.channel, life.time_ns, life.value)
        assert ends.tolist() == list(range(START_NS + HOUR_NS, life.end_ns + 1, HOUR_NS))
        newest = windows[-1, -1, :-1]
        assert not np.isnan(newest).any()
        assert windows[-1, -1, -1] == len(ends) - 1


@pytest.mark.needs("dataset:cmapss")
def test_a_recording_tells_the_test_side_nothing_about_failures(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--subset", "FD003", "--train-machines", "3", "--test-machines", "2"]
    result = CliRunner().invoke(
        cli,
        ["data", "record", "cmapss", "--data", str(folder), *options, "--out", str(out), "--json"],
        catch_exceptions=False,
    )
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["train_machines"], told["test_machines"]) == (3, 2)
    assert "cycle:cycles:context" in told["channels"]
    assert {"t2", "farb"} <= set(told["left_out"])
    assert [path.name for path in (out / "test").rglob("*.csv")] == []
    assert (out / "train" / "events.csv").read_text().count("failure") == 3
    readings = sum(len(batch) for part in ("train", "test") for batch in read_batches(out / part))
    assert readings == told["readings"]


@pytest.mark.needs("dataset:cmapss")
def test_the_files_here_are_the_published_ones_and_an_altered_one_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "cmapss"
    shutil.copytree(folder, ours)
    entry = data_set("cmapss")
    assert {one.state for one in verify(ours, entry.files)} == {State.WHOLE}
    rul = ours / "RUL_FD001.txt.gz"
    rul.write_bytes(gzip.compress(gzip.decompress(rul.read_bytes()).replace(b"112", b"113")))
    with pytest.raises(DataError, match=r"RUL_FD001.txt.gz is not the published file"):
        read_fleet(entry, ours, "FD001")
    assert len(read_fleet(entry, ours, "FD003").test) == 100
