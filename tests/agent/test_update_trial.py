from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import onnx
import pytest

from foreshock_agent.update.errors import InterruptedTrialError, TrialError
from foreshock_agent.update.trial import Limits, run_trial
from foreshock_converter.sample import tiny_model
from foreshock_wire.container import sealed
from foreshock_wire.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = ("temperature", "pressure", "vibration", "torque", "motor_power")


@pytest.fixture(scope="module")
def model_bytes() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture
def model_file(tmp_path: Path, model_bytes: bytes) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes)
    return path


def test_a_good_model_passes(model_file: Path) -> None:
    run_trial(model_file, CHANNELS, Limits())


def test_a_model_for_other_channels_names_them(model_file: Path) -> None:
    with pytest.raises(TrialError, match="reads motor_power, which this gateway's sources do not"):
        run_trial(model_file, CHANNELS[:-1], Limits())


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_model_is_refused(model_file: Path, model_bytes: bytes, keep: float) -> None:
    length = int(keep if keep >= 1 else keep * len(model_bytes))
    model_file.write_bytes(model_bytes[:length])
    with pytest.raises(TrialError, match=r"not a model file|the model file is cut off"):
        run_trial(model_file, CHANNELS, Limits())


def test_a_model_that_does_not_repeat_its_golden_outputs_is_refused(model_file: Path) -> None:
    graph = onnx.load_model(model_file)
    entry = next(p for p in graph.metadata_props if p.key == METADATA_KEY)
    spec = ModelSpec.from_json(entry.value)
    assert spec.golden is not None
    spec.golden.margin[0] += 0.5
    entry.value = spec.to_json()
    model_file.write_bytes(sealed(graph.SerializeToString()))
    with pytest.raises(TrialError, match="does not repeat its golden margin"):
        run_trial(model_file, CHANNELS, Limits())


def test_a_file_that_is_never_read_to_its_end_runs_into_the_time_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs.onnx")
    with pytest.raises(TrialError, match="longer than 1 s"):
        run_trial(tmp_path / "hangs.onnx", CHANNELS, Limits(wall_s=1))


def test_it_can_be_left(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs.onnx")
    with pytest.raises(InterruptedTrialError):
        run_trial(tmp_path / "hangs.onnx", CHANNELS, Limits(), cancelled=lambda: True)


def test_too_little_memory_ends_the_child_and_not_us(model_file: Path) -> None:
    with pytest.raises(TrialError, match="self-test"):
        run_trial(model_file, CHANNELS, Limits(memory_bytes=64 << 20))


def test_too_little_cpu_time_ends_the_child_and_not_us(tmp_path: Path) -> None:
    nested = tmp_path / "endless.onnx"
    nested.symlink_to("/dev/zero")
    with pytest.raises(TrialError, match="self-test"):
        run_trial(nested, CHANNELS, Limits(cpu_s=1))


def test_the_reason_is_one_line_of_json_that_a_person_can_read(model_file: Path) -> None:
    with pytest.raises(TrialError) as caught:
        run_trial(model_file, ["temperature"], Limits())
    assert json.dumps(str(caught.value)).count("\\n") == 0
