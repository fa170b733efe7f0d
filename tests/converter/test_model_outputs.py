from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.features import FeatureGraph
from foreshock_converter.heads import MOST_SIGMAS, Novelty
from foreshock_converter.sample import synthetic_windows
from foreshock_wire.model import OUTPUTS, Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]


def made(trained: Trained, **changes: object) -> Model:
    parts = replace(trained, **changes)  # type: ignore[arg-type]
    return Model.load(
        assemble(parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows)
    )


def test_every_output_has_its_width(model: Model, unseen: Float32) -> None:
    outputs, rows = model.run(unseen), len(unseen)
    shapes = {name: getattr(outputs, name).shape for name in OUTPUTS}
    assert shapes == {
        "margin": (rows,),
        "probability": (rows,),
        "modes": (rows, 2),
        "lead_time": (rows, 3),
        "novelty": (rows,),
        "features": (rows, 80),
        "shapley": (rows, 5),
        "shapley_error": (rows, 5),
    }
    assert {getattr(outputs, name).dtype for name in OUTPUTS} == {np.dtype(np.float32)}


def test_no_windows_give_no_rows(model: Model) -> None:
    nothing = np.empty((0, 48, 5), np.float32)
    for explain in (False, True):
        outputs = model.run(nothing, explain=explain)
        assert {len(getattr(outputs, name)) for name in OUTPUTS} == {0}


def test_a_window_without_readings_has_no_score(model: Model, unseen: Float32) -> None:
    rows = unseen[:3].copy()
    rows[1] = np.nan
    rows[2] = np.inf
    outputs = model.run(rows)
    for name in ("margin", "probability", "modes", "lead_time", "novelty"):
        values = getattr(outputs, name)
        assert np.isfinite(values[0]).all(), name
        assert np.isnan(values[1:]).all(), name


def test_one_reading_of_one_channel_is_scored(model: Model) -> None:
    rows = np.full((1, 48, 5), np.nan, np.float32)
    rows[0, 7, 3] = 80
    assert np.isfinite(model.run(rows).margin).all()


def test_infinite_readings_are_missing_ones(model: Model, unseen: Float32) -> None:
    infinite = unseen.copy()
    infinite[np.isnan(infinite)] = -np.inf
    have, want = model.run(infinite), model.run(unseen)
    for name in OUTPUTS:
        assert getattr(have, name).tobytes() == getattr(want, name).tobytes(), name


def test_heads_that_are_absent_give_nan_in_full_width(trained: Trained, unseen: Float32) -> None:
    bare = made(trained, heads=replace(trained.heads, modes=None, lead_time=None))
    outputs = bare.run(unseen, explain=True)
    assert outputs.modes.shape == (len(unseen), 2)
    assert outputs.lead_time.shape == (len(unseen), 3)
    assert np.isnan(outputs.modes).all()
    assert np.isnan(outputs.lead_time).all()
    assert np.isfinite(outputs.shapley).all()


def test_a_spec_without_modes_and_quantiles_has_no_columns(
    trained: Trained, unseen: Float32
) -> None:
    spec = replace(trained.spec, modes=(), lead_time_quantiles=())
    heads = replace(trained.heads, modes=None, lead_time=None, lead_time_shift=())
    outputs = made(trained, spec=spec, heads=heads).run(unseen)
    assert outputs.modes.shape == outputs.lead_time.shape == (len(unseen), 0)


def test_probability_is_the_calibrated_margin(model: Model, unseen: Float32) -> None:
    outputs = model.run(unseen)
    want = 1 / (1 + np.exp(-(1.1 * outputs.margin.astype(np.float64) - 0.1)))
    np.testing.assert_allclose(outputs.probability, want, atol=1e-6)


def test_threshold_and_threshold_margin_decide_alike(model: Model, unseen: Float32) -> None:
    outputs, spec = model.run(unseen), model.spec
    by_margin = outputs.margin >= spec.threshold_margin
    assert 0 < by_margin.sum() < len(unseen)
    np.testing.assert_array_equal(by_margin, outputs.probability >= spec.threshold)


def test_lead_times_are_ordered_and_not_negative(trained: Trained, unseen: Float32) -> None:
    # A shift that crosses the quantiles and pushes the lowest one below zero.
    heads = replace(trained.heads, lead_time_shift=(30.0, 0.0, -60.0))
    lead_time = made(trained, heads=heads).run(unseen).lead_time
    assert (np.diff(lead_time, axis=1) >= 0).all()
    assert lead_time.min() == 0


def test_modes_are_probabilities(model: Model, unseen: Float32) -> None:
    np.testing.assert_allclose(model.run(unseen).modes.sum(axis=1), 1, atol=1e-6)


def test_novelty_is_about_one_on_healthy_windows_and_more_on_strange_ones(
    model: Model,
) -> None:
    windows, hours, _ = synthetic_windows(300, 5, 48, seed=8)
    healthy = np.median(model.run(windows[hours > 100]).novelty)
    strange = np.median(model.run(windows * np.float32(1.5)).novelty)
    assert 0.5 < healthy < 2
    assert 10 * healthy < strange <= MOST_SIGMAS**2


def test_novelty_is_the_mean_of_squared_scores(
    model: Model, trained: Trained, unseen: Float32
) -> None:
    features = model.run(unseen).features.astype(np.float64)
    used = trained.novelty.used
    score = ((features - trained.novelty.median) / trained.novelty.scale)[:, used]
    want = np.nanmean(score.clip(-MOST_SIGMAS, MOST_SIGMAS) ** 2, axis=1)
    np.testing.assert_allclose(model.run(unseen).novelty, want, rtol=1e-4)


def test_novelty_ignores_what_never_moved(trained: Trained) -> None:
    spec = trained.spec
    windows = trained.windows.copy()
    windows[:, :, 0] = 61.2
    graph = FeatureGraph.of(spec)
    novelty = Novelty.fit(graph.extract(windows))
    assert not novelty.used[graph.names.index("temperature.std")]
    assert not novelty.used[graph.names.index("temperature.kurtosis")]
    assert novelty.used[graph.names.index("vibration.std")]


def test_platt_places_a_threshold_in_margin_space() -> None:
    calibration = Platt(0.7, -1.3)
    for probability in (0.001, 0.5, 0.93):
        assert np.isclose(calibration.probability(calibration.margin(probability)), probability)
    assert calibration.probability(-1e6) == 0
    assert calibration.probability(1e6) == 1
