from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_converter.cli import cli
from foreshock_converter.inspection_page import page
from foreshock_converter.keepsake import kept
from foreshock_converter.sample import train
from foreshock_wire.errors import NotAModelError
from foreshock_wire.spec import Advice, Histogram
from tests.sound_html import read

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from foreshock_converter.sample import Trained
    from foreshock_wire.model import Model


@pytest.fixture(scope="module")
def file(model_bytes: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    path.write_bytes(model_bytes)
    return path


def convert(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def last_object(result: Result) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(result.output.splitlines()[-1])
    return parsed


def test_inspect_tells_a_person(file: Path, model: Model) -> None:
    result = convert("inspect", file)
    assert result.exit_code == 0
    for told in (model.sha256, "vibration [mm/s] measured", "bearing", "(24 h)", "kurtosis"):
        assert told in result.output
    assert "ai.onnx 21" in result.output
    bars = [line for line in result.output.splitlines() if "|" in line and "█" in line]
    assert len(bars) == len(model.spec.reference)


def test_inspect_counts_what_the_graph_holds(file: Path, trained: Trained) -> None:
    graph = last_object(convert("inspect", file, "--json"))["graph"]
    heads = (trained.heads.fault, trained.heads.modes, trained.heads.lead_time)
    dumps = [tree for head in heads if head for tree in head.get_dump()]
    assert graph["trees"] == len(dumps)
    # A tree of one leaf is written with a split, as the operator wants one.
    assert graph["splits"] == sum(max(1, tree.count("yes=")) for tree in dumps)


def test_inspect_tells_a_machine(file: Path, model: Model) -> None:
    facts = last_object(convert("inspect", file, "--json"))
    assert facts["sha256"] == model.sha256
    assert facts["features"] == list(model.spec.features)
    assert facts["golden_windows"] == 8
    assert "baseline" not in facts


def test_inspect_draws_what_it_tells(file: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "model.html"
    facts = last_object(convert("inspect", file, "--html", out, "--json"))
    text, spec = out.read_text("utf-8"), model.spec
    shown = read(text)
    assert not re.search(r"https?:|<script|<link|<img|url\(|@import|src=", text)
    assert all(name in shown for name in (model.sha256, *spec.channel_ids, "ai.onnx"))
    for one in spec.advice:
        assert f"\n{one.text}\n" in shown
    for name, value in spec.provenance.items():
        assert f"{name}\n{value}" in shown
    assert spec.golden is not None
    told = [f"{margin:+.3f}" for margin in spec.golden.margin if not np.isnan(margin)]
    assert told
    assert all(margin in shown for margin in told)
    assert shown.count("no score") == len(spec.golden.margin) - len(told)
    assert "nan" not in text
    assert text.count('<rect class="bar') == 16 * len(spec.reference)
    assert facts["sha256"] == model.sha256


def test_a_strange_model_is_drawn_all_the_same(model: Model) -> None:
    hostile = "</td><script>&\"'"
    spec = replace(
        model.spec,
        name=hostile,
        channels=tuple(replace(one, unit=hostile) for one in model.spec.channels),
        advice=(Advice(hostile, hostile),),
        provenance={hostile: hostile},
        reference={model.spec.features[0]: Histogram((1.0, 1.0), (0,))},
        baseline=np.full_like(model.spec.baseline, np.nan),
        golden=None,
    )
    told = {"sha256": model.sha256, "bytes": 1, "healthy": {}}
    graph = {"opsets": {hostile: 1}} | dict.fromkeys(
        ("nodes", "trees", "splits", "metadata_bytes"), 0
    )
    text = page(spec, told | {"graph": graph})
    assert "<script" not in text
    assert "nan" not in text
    assert read(text).count(hostile) >= 6


@pytest.fixture(scope="module")
def boosters(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "boosters.json"
    path.write_text(kept(trained.heads, trained.calibration))
    return path


def test_verify_proves_the_file_again_from_the_kept_boosters(file: Path, boosters: Path) -> None:
    found = last_object(convert("verify", file, "--boosters", boosters, "--json"))
    assert found["ok"] is True
    assert found["parity"]["windows"] >= 10_000
    assert found["parity"]["flips"] == 0
    assert found["parity"]["max_abs_probability"] < 1e-5


def test_verify_refuses_a_file_that_others_boosters_made(
    file: Path, trained: Trained, tmp_path: Path
) -> None:
    other = tmp_path / "boosters.json"
    other.write_text(kept(train(seed=1).heads, trained.calibration))
    result = convert("verify", file, "--boosters", other, "--json")
    assert result.exit_code == 1
    assert "decisions flip" in last_object(result)["error"]


def test_verify_names_boosters_and_windows_that_are_none(
    file: Path, boosters: Path, tmp_path: Path
) -> None:
    nonsense, shapeless = tmp_path / "nonsense.json", tmp_path / "windows.npy"
    nonsense.write_text('{"version": 1, "boosters": {"fault": {}}}')
    np.save(shapeless, np.zeros((2, 3), np.float32))
    for told, *args in (
        ("boosters.json", "--boosters", nonsense),
        ("has shape", "--boosters", boosters, "--windows", shapeless),
        ("goes with --boosters", "--windows", shapeless),
    ):
        result = convert("verify", file, *args, "--json")
        assert result.exit_code == 1
        assert told in last_object(result)["error"]


def test_verify_passes_a_good_file(file: Path) -> None:
    result = convert("verify", file)
    assert result.exit_code == 0
    assert "repeats its 8 golden windows" in result.output
    assert last_object(convert("verify", file, "--json"))["ok"] is True


def test_verify_refuses_a_truncated_file(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(file.read_bytes()[:-1000])
    result = convert("verify", broken)
    assert result.exit_code == 1
    assert isinstance(result.exception, NotAModelError)
    told = convert("verify", broken, "--json")
    assert told.exit_code == 1
    assert last_object(told)["ok"] is False
