"""Platt's line and the isotonic curve: in the graph as in NumPy, rising, and with one inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import STEEPEST, Isotonic, Platt, calibration_from_json
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.parity import parity
from foreshock_converter.sample import synthetic_windows
from foreshock_wire.model import Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained

CURVE = Isotonic((-3.0, -1.0, 0.5, 0.7, 2.0), (0.01, 0.1, 0.3, 0.8, 0.97))


def scored(
    seed: int, count: int = 400, decimals: int = 6
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, count).round(decimals)
    return margin, rng.random(count) < 1 / (1 + np.exp(-margin))


def test_the_graph_holds_the_curve(trained: Trained) -> None:
    spec = replace(trained.spec, threshold=0.5, threshold_margin=CURVE.margin(0.5))
    made = assemble(spec, trained.heads, CURVE, trained.novelty, windows=trained.windows)
    rows = synthetic_windows(2000, 5, 48, seed=9)[0]
    outputs = Model.load(made).run(rows)
    np.testing.assert_allclose(outputs.probability, CURVE.probability(outputs.margin), atol=1e-6)
    decided = outputs.margin >= spec.threshold_margin
    np.testing.assert_array_equal(decided, outputs.probability >= spec.threshold)
    assert 0 < decided.sum() < len(rows)
    assert parity(made, trained.heads, CURVE, rows).ok
    assert not parity(made, trained.heads, Platt(), rows).ok


@given(seed=st.integers(0, 2**16), decimals=st.sampled_from([0, 1, 6]))
def test_a_fitted_curve_rises_and_is_not_too_steep(seed: int, decimals: int) -> None:
    margin, label = scored(seed, decimals=decimals)
    curve = Isotonic.fit(margin, label)
    grid = curve.probability(np.linspace(-8, 8, 500))
    assert (np.diff(grid) >= 0).all()
    assert np.max(np.diff(grid)) <= STEEPEST * 16 / 499 + 1e-12
    assert 0 <= grid[0] <= grid[-1] <= 1


@given(seed=st.integers(0, 2**16), share=st.floats(0.01, 0.99))
def test_a_probability_has_one_margin(seed: int, share: float) -> None:
    curve = Isotonic.fit(*scored(seed))
    low, high = curve.probabilities[0], curve.probabilities[-1]
    wanted = low + share * (high - low)
    assert curve.probability(curve.margin(wanted)) == pytest.approx(wanted, abs=1e-9)


def test_a_fitted_curve_is_near_plain_isotonic_regression() -> None:
    margin, label = scored(3, 20_000)
    plain = IsotonicRegression(out_of_bounds="clip").fit(margin, label)
    grid = np.linspace(-3, 3, 200)
    assert np.abs(Isotonic.fit(margin, label).probability(grid) - plain.predict(grid)).mean() < 0.01


@pytest.mark.parametrize("calibration", [CURVE, Platt(0.7, -1.3)], ids=["isotonic", "platt"])
def test_a_calibration_travels_as_json(calibration: Isotonic | Platt) -> None:
    assert calibration_from_json(calibration.to_json()) == calibration


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="'beta'; known are platt and isotonic"):
        calibration_from_json({"kind": "beta"})


@pytest.mark.parametrize(
    ("margins", "probabilities", "message"),
    [
        ((0.0,), (0.5,), "two knots at least"),
        ((0.0, 1.0), (0.5, 0.4), "ascend strictly"),
        ((0.0, 0.0), (0.1, 0.4), "ascend strictly"),
        ((0.0, 1.0), (0.5, 1.4), r"in \[0, 1\]"),
        ((0.0, np.inf), (0.1, 0.4), "ascend strictly"),
        ((0.0, 0.01), (0.1, 0.4), "steeper than 4"),
    ],
)
def test_a_curve_that_does_not_rise_cannot_be_made(
    margins: tuple[float, ...], probabilities: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        Isotonic(margins, probabilities)


def test_margins_that_say_nothing_cannot_calibrate() -> None:
    with pytest.raises(UnsupportedModelError, match="do not rise with their labels"):
        Isotonic.fit([3.0, 2.0, 1.0], [False, True, True])


def test_a_threshold_beyond_the_curve_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"does not cross 0\.99"):
        CURVE.margin(0.99)
