from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.errors import ParityError
from foreshock_converter.parity import parity
from foreshock_converter.sample import synthetic_windows, train

if TYPE_CHECKING:
    from foreshock_converter.sample import Trained


def test_the_file_is_the_model_that_was_trained(trained: Trained, model_bytes: bytes) -> None:
    windows = synthetic_windows(2000, 5, 48, seed=21)[0]
    report = parity(model_bytes, trained.heads, trained.calibration, windows)
    report.require()
    assert report.flips == 0
    assert report.windows > len(windows)
    assert report.max_abs_probability < 1e-5
    assert report.max_abs_shapley < 1e-5


def test_another_booster_is_noticed(trained: Trained, model_bytes: bytes) -> None:
    other = train(seed=1)
    heads = replace(trained.heads, fault=other.heads.fault)
    report = parity(model_bytes, heads, trained.calibration, trained.windows)
    assert report.flips
    assert report.max_abs_shapley > 1e-4
    with pytest.raises(ParityError, match="do not register it"):
        report.require()


def test_other_modes_and_lead_times_are_noticed(trained: Trained, model_bytes: bytes) -> None:
    other = train(seed=1)
    heads = replace(trained.heads, modes=other.heads.modes, lead_time_shift=(0.0, 0.0, 1.0))
    report = parity(model_bytes, heads, trained.calibration, trained.windows)
    assert report.flips == 0
    assert report.max_abs_modes > 1e-3
    assert report.max_abs_lead_time_h > 0.1
    assert not report.ok


def test_another_calibration_is_noticed(trained: Trained, model_bytes: bytes) -> None:
    report = parity(model_bytes, trained.heads, Platt(1.2, -0.1), trained.windows)
    assert report.max_abs_probability > 1e-3
    assert not report.ok


def test_a_model_that_misses_heads_is_noticed(trained: Trained) -> None:
    bare = replace(trained.heads, modes=None, lead_time=None)
    model = assemble(
        trained.spec, bare, trained.calibration, trained.novelty, windows=trained.windows
    )
    assert parity(model, bare, trained.calibration, trained.windows).ok
    report = parity(model, trained.heads, trained.calibration, trained.windows)
    assert np.isinf([report.max_abs_modes, report.max_abs_lead_time_h]).all()
