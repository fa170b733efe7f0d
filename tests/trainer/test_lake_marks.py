from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable

from foreshock_trainer.inbox import Upload
from foreshock_trainer.lake import Lake, LakeError, StaleMarksError
from foreshock_trainer.rows import rows_of
from foreshock_wire.topics import Gateway, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

READINGS = Stream.READINGS


def store(lake: Lake, batch: Readings, gateway: str = "gw-1") -> None:
    upload = Upload(Gateway("works", gateway), READINGS, batch)
    lake.append(READINGS, rows_of(READINGS, [upload]), {upload.key.app_id: upload.last_seq})


def test_rows_and_mark_are_committed_together(lake: Lake, make_readings: Make) -> None:
    store(lake, make_readings("e1", 1, 5))
    assert lake.mark("gw-1", "e1", READINGS) == 5
    again = Lake(lake.root)
    assert again.mark("gw-1", "e1", READINGS) == 5
    assert again.mark("gw-1", "e2", READINGS) == 0
    assert again.readings()["seq"].to_pylist() == [1, 2, 3, 4, 5]


def test_a_writer_with_old_marks_is_refused(lake: Lake, make_readings: Make) -> None:
    other = Lake(lake.root)
    assert other.mark("gw-1", "e1", READINGS) == 0
    store(lake, make_readings("e1", 1, 5))
    with pytest.raises(StaleMarksError):
        store(other, make_readings("e1", 1, 5))
    assert other.mark("gw-1", "e1", READINGS) == 5
    assert len(lake.readings()) == 5


def test_a_writer_is_not_refused_for_another_gateway(lake: Lake, make_readings: Make) -> None:
    other = Lake(lake.root)
    store(lake, make_readings("e1", 1, 5))
    store(other, make_readings("e1", 1, 5), "gw-2")
    assert len(lake.readings()) == 10


def test_marks_read_before_an_unrelated_commit_are_not_kept(
    lake: Lake, make_readings: Make
) -> None:
    """The own commit for gw-2 moves the snapshot past the other's gw-1: no conflict would tell."""
    other = Lake(lake.root)
    assert other.mark("gw-1", "e1", READINGS) == 0
    store(lake, make_readings("e1", 1, 5))
    store(other, make_readings("e1", 1, 5), "gw-2")
    assert other.mark("gw-1", "e1", READINGS) == 5


def test_a_mark_moves_without_rows(lake: Lake) -> None:
    lake.append(READINGS, rows_of(READINGS, []), {"gw-1/e1/readings": 9})
    assert Lake(lake.root).mark("gw-1", "e1", READINGS) == 9
    assert len(lake.readings()) == 0


def test_marks_outlive_a_checkpoint_and_the_cleanup_of_the_log(
    lake: Lake, make_readings: Make
) -> None:
    for first in (1, 3, 5):
        store(lake, make_readings("e1", first, 2))
    table = DeltaTable(f"{lake.root}/readings")
    table.create_checkpoint()
    for version in range(table.version()):
        Path(lake.root, "readings", "_delta_log", f"{version:020d}.json").unlink()
    again = Lake(lake.root)
    assert again.mark("gw-1", "e1", READINGS) == 6
    store(again, make_readings("e1", 7, 2))
    assert again.readings()["seq"].to_pylist() == list(range(1, 9))


def test_a_table_that_cannot_be_written_is_an_error_and_heals(
    lake: Lake, make_readings: Make, tmp_path: Path
) -> None:
    log = tmp_path / "lake" / "readings" / "_delta_log"
    away = log.rename(tmp_path / "away")
    log.write_text("not a folder")
    with pytest.raises(LakeError, match="readings"):
        store(lake, make_readings("e1", 1, 5))
    log.unlink()
    away.rename(log)
    assert lake.mark("gw-1", "e1", READINGS) == 0
    store(lake, make_readings("e1", 1, 5))
    assert len(lake.readings()) == 5


def test_a_lake_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"there is no lake at .*nowhere.*trainer ingest"):
        Lake(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="cannot"):
        Lake(tmp_path / "file", create=True)
