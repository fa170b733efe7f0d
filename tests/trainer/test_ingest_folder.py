from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock_trainer import folder as folders
from foreshock_trainer.folder import ingest_folder
from foreshock_trainer.ingest_cli import ingest
from foreshock_trainer.lake import Lake
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from foreshock_wire.batch import Readings

    Make = Callable[[str, int, int], Readings]

EVENTS = """machine,time,kind,mode,detail
pump-1,2024-01-02T03:04:05Z,failure,bearing_wear,
pump-2,2024-01-03T00:00:00Z,maintenance,,grease
"""


@pytest.fixture
def recorded(tmp_path: Path, make_readings: Make) -> Path:
    """Two gateways with three files each, and the labels."""
    root = tmp_path / "recorded"
    for gateway in ("gw-1", "gw-2"):
        files = root / "works" / gateway
        files.mkdir(parents=True)
        for first in (1, 11, 21):
            (files / f"e1-{first:012d}.fsb").write_bytes(make_readings("e1", first, 10).to_bytes())
    (root / "events.csv").write_text(EVENTS)
    return root


def run(*arguments: object) -> dict[str, object]:
    result = CliRunner().invoke(ingest, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_folder_taken_twice_adds_nothing(recorded: Path, tmp_path: Path) -> None:
    root = tmp_path / "lake"
    first = run("--from", recorded, "--lake", root, "--json")
    lake = Lake(root)
    version = lake.version()
    again = run("--from", recorded, "--lake", root, "--json")
    assert first["counters"]["readings"] == 60  # type: ignore[index]
    assert first["labels"] == {"added": 2, "known": 0, "refused": []}
    assert again["counters"]["readings"] == 0  # type: ignore[index]
    assert again["labels"] == {"added": 0, "known": 2, "refused": []}
    assert lake.version() == version
    assert lake.readings()["seq"].to_pylist() == list(range(1, 31)) * 2


def test_a_folder_that_was_cut_short_is_continued(
    recorded: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "ROUND_BYTES", 1)
    stop_at = iter(range(2))

    def killed(_: int) -> None:
        if next(stop_at, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_folder(lake, recorded, progress=killed)
    assert len(lake.readings()) == 30
    steps: list[int] = []
    report = ingest_folder(Lake(lake.root), recorded, progress=steps.append)
    assert (report.counters["repeats"], report.counters["readings"]) == (3, 30)
    assert sum(steps) == report.files == 6
    assert len(lake.readings()) == 60


def test_a_missing_file_is_named_and_nothing_skips_it(recorded: Path, lake: Lake) -> None:
    (recorded / "works" / "gw-2" / "e1-000000000011.fsb").unlink()
    with pytest.raises(ForeshockError, match=r"works/gw-2.*from seq 11 .* is missing"):
        ingest_folder(lake, recorded)
    assert len(lake.readings()) == 40


def test_a_damaged_file_is_quarantined_and_named(recorded: Path, lake: Lake) -> None:
    file = recorded / "works" / "gw-1" / "e1-000000000021.fsb"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ForeshockError, match=r"e1-000000000021\.fsb.*CRC"):
        ingest_folder(lake, recorded)
    assert len(lake.quarantine()) == 1
    assert len(lake.readings()) == 50


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: root / "nowhere", "is not a folder"),
        (lambda root: root / "empty", "holds neither"),
        (lambda root: root / "misnamed", "site 'Works'"),
    ],
)
def test_another_folder_is_refused(
    tmp_path: Path, lake: Lake, make: Callable[[Path], Path], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "misnamed" / "Works" / "gw-1").mkdir(parents=True)
    (tmp_path / "misnamed" / "Works" / "gw-1" / "x.fsb").write_bytes(b"")
    with pytest.raises(ForeshockError, match=says):
        ingest_folder(lake, make(tmp_path))


def test_broker_and_folder_exclude_each_other(tmp_path: Path) -> None:
    for choice in ([], ["--broker", "localhost", "--from", str(tmp_path)]):
        result = CliRunner().invoke(ingest, [*choice, "--lake", str(tmp_path / "lake")])
        assert result.exit_code == 2
        assert "either --broker HOST:PORT or --from DIR" in result.stderr
