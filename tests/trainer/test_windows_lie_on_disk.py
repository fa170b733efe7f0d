"""Windows are kept on disk and read back bit for bit; machines are read in groups."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foreshock_converter.heads import Novelty
from foreshock_converter.reference import baseline_window
from foreshock_rules.windows import WindowSpec
from foreshock_trainer import examples
from foreshock_trainer.examples import examples_of
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.labels import Kind, Label, put_labels
from foreshock_trainer.spool import Spool
from foreshock_wire.topics import Gateway, Stream, uplink
from tests.trainer.conftest import HOUR_NS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    import pytest

    from foreshock_trainer.lake import Lake
    from foreshock_wire.batch import Readings


def test_what_was_added_comes_back_and_the_folder_stays_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    chance = np.random.default_rng(0)
    parts = [chance.standard_normal((n, 5, 3)).astype(np.float32) for n in (4, 0, 7)]
    parts[0][1, 2, 0] = np.nan
    with Spool(5, 3) as spool:
        for part in parts:
            spool.add(part)
        found = spool.array()
        assert list(tmp_path.iterdir()) == []
    assert found.tobytes() == np.concatenate(parts).tobytes()
    with Spool(5, 3) as none:
        assert none.array().shape == (0, 5, 3)


def test_groups_of_machines_change_nothing_but_memory(
    lake: Lake,
    make_readings: Callable[[str, int, int], Readings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for gateway in range(3):
        batch = make_readings("e", 1, 200)
        names = [f"{name}-{gateway}" for name in batch.machines]
        sent = replace(batch, machines=names)
        topic = uplink(Gateway("works", f"gw-{gateway}"), Stream.READINGS)
        Ingest(lake).take([Message(topic, sent.to_bytes(), 1)])
    machines = lake.machines()
    put_labels(lake, [Label(name, 150 * HOUR_NS, Kind.FAILURE, "wear") for name in machines])
    spec = WindowSpec(("temperature", "pressure"), HOUR_NS, 8, 1, 0.1)
    read: list[int] = []
    monkeypatch.setattr(lake, "readings", _counting(lake.readings, read))

    whole = examples_of(lake, spec, horizon_h=24)
    together = len(read)
    monkeypatch.setattr(examples, "READINGS_AT_ONCE", 1)
    seen: list[npt.NDArray[np.float32]] = []
    parted = examples_of(lake, spec, horizon_h=24, seen=seen.append)

    assert (together, len(read) - together) == (1, len(machines))
    assert len(whole) > 100
    assert parted.windows.tobytes() == whole.windows.tobytes()
    assert np.concatenate(seen).tobytes() == whole.windows.tobytes()
    assert (parted.end_ns == whole.end_ns).all()
    assert sum(lake.reading_counts().values()) == 600


def _counting(read: Callable[..., object], calls: list[int]) -> Callable[..., object]:
    def counted(*args: object, **options: object) -> object:
        calls.append(1)
        return read(*args, **options)

    return counted


def test_the_baseline_is_the_nearest_complete_healthy_window() -> None:
    windows = np.zeros((4, 2, 1), np.float32)
    windows[:, 0, 0] = [1, 2, 3, 4]
    windows[0, 1, 0] = np.nan
    features = np.array([[0.0], [2.0], [1.0], [0.1]], np.float32)
    one = np.ones(1, np.float32)
    novelty = Novelty(median=0 * one, scale=one)
    healthy = np.array([True, True, True, False])
    found = baseline_window(windows, features, healthy, novelty)
    assert found is not None
    assert found[0, 0] == 3
    incomplete = np.array([True, False, False, False])
    assert baseline_window(windows, features, incomplete, novelty) is None
