"""The drift sketch: nothing for the same distribution, much for another, no trouble with NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_rules.drift import ENOUGH, FORGET_AT, TOLD, DriftSketch
from foreshock_wire.spec import Histogram

DECILES = tuple(
    float(x) for x in (-9.0, -1.28, -0.84, -0.52, -0.25, 0.0, 0.25, 0.52, 0.84, 1.28, 9)
)
NORMAL = Histogram(DECILES, (100,) * 10)
COARSE = Histogram((0.0, 0.5, 1.0), (50, 50))
NAMES = ("a", "unseen", "b")


def sketch() -> DriftSketch:
    return DriftSketch(NAMES, {"a": NORMAL, "b": COARSE})


def features(
    shift: float, rows: int, seed: int = 1
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    random = np.random.default_rng(seed)
    columns = [random.normal(shift, 1, rows), np.full(rows, np.nan), random.random(rows)]
    return np.stack(columns, axis=1).astype(np.float32)


def test_the_same_distribution_has_hardly_an_index_and_another_has_a_large_one() -> None:
    same, other = sketch(), sketch()
    for start in range(40):
        same.add(features(0.0, 100, start))
        other.add(features(1.0, 100, start))
    assert set(same.indices()) == {"a", "b"}
    assert max(same.indices().values()) < 0.02
    # A normal distribution that is shifted by one deviation: 1.0 in the limit of many bins.
    assert other.indices()["a"] == pytest.approx(0.9, abs=0.15)
    assert next(iter(other.indices())) == "a"


def test_little_is_said_of_little() -> None:
    one = sketch()
    one.add(features(0.0, ENOUGH - 1))
    assert one.indices() == {}
    assert DriftSketch(NAMES, {}).indices() == {}


def test_old_windows_fade() -> None:
    one = sketch()
    one.add(features(3.0, FORGET_AT))
    before = one.indices()["a"]
    for seed in range(6):
        one.add(features(0.0, FORGET_AT, seed))
    assert one.indices()["a"] < before / 10


def test_no_more_than_a_few_are_told() -> None:
    names = [f"f{n}" for n in range(40)]
    one = DriftSketch(names, dict.fromkeys(names, COARSE))
    one.add(np.random.default_rng(1).random((300, 40)).astype(np.float32))
    assert len(one.indices()) == TOLD


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_whatever_a_feature_is_the_indices_are_finite_and_not_negative(values: list[float]) -> None:
    one = DriftSketch(("a",), {"a": NORMAL})
    for _ in range(300 // len(values) + 1):
        one.add(np.array(values, np.float32)[:, np.newaxis])
    assert all(np.isfinite(index) and index >= 0 for index in one.indices().values())
