"""The benchmark rows' own features know what came before, and nothing of what comes after."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models_cmapss import Cycles, engine_features, health_indices, trailing_slopes
from benchmarks.plant_observer import observe_all
from benchmarks.plant_windows import simulate_many

RNG = np.random.default_rng(4)


def cycles(count: int, engines: int = 3) -> Cycles:
    rows = count * engines
    return Cycles(
        sensors=np.cumsum(RNG.normal(size=(rows, 4)), axis=0),
        engine=np.repeat(np.arange(engines), count),
        cycle=np.tile(np.arange(1.0, count + 1), engines),
        left=np.tile(np.arange(count - 1.0, -1, -1), engines),
        test=np.zeros(rows, np.bool_),
    )


def test_an_engine_that_is_cut_short_has_the_features_that_it_had_then() -> None:
    rows = cycles(90)
    index = health_indices(rows)
    early = rows.cycle <= 41

    whole = engine_features(rows, index, counter=True)
    short = engine_features(rows.take(early), index, counter=True)

    np.testing.assert_allclose(short, whole[early], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("span", [5, 30])
def test_slopes_are_those_of_least_squares(span: int) -> None:
    values = RNG.normal(size=(50, 2)) + 1000

    slopes = trailing_slopes(values, span)

    assert (slopes[0] == 0).all()
    for at in (1, 7, 49):
        seen = values[max(0, at + 1 - span) : at + 1]
        line = np.polyfit(np.arange(len(seen)), seen, 1)[0]
        np.testing.assert_allclose(slopes[at], line, rtol=1e-6, atol=1e-9)


def test_a_farther_horizon_is_never_less_likely_to_the_observer() -> None:
    machines = simulate_many(3, seed=5, hours=150)

    near, far = observe_all(machines, particles=40, seed=1, horizons=(48, 144))

    said = ~np.isnan(near)
    assert said.any()
    assert (far[said] >= near[said] - 0.05).all()
    assert far[said].mean() > near[said].mean()
