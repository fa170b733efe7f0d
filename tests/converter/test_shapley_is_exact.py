from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.assemble import assemble
from foreshock_converter.games import exact
from foreshock_converter.oracle import brute_force_shapley
from foreshock_converter.sample import tiny_model, train
from foreshock_converter.stress import stressed
from foreshock_wire.model import Model
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]


def explained_rows(unseen: Float32) -> Float32:
    return stressed(unseen[:10])[:-10]


def test_values_sum_to_the_margin_above_the_baseline(model: Model, unseen: Float32) -> None:
    rows = explained_rows(unseen)
    outputs = model.run(rows, explain=True)
    start = model.run(model.spec.baseline[None]).margin[0]
    np.testing.assert_allclose(
        outputs.shapley.sum(axis=1), outputs.margin - start, rtol=0, atol=1e-5
    )
    assert np.abs(outputs.shapley).max() > 0.1
    assert not outputs.shapley_error.any()


def test_values_equal_brute_force_over_raw_windows(
    model: Model, trained: Trained, unseen: Float32
) -> None:
    rows = explained_rows(unseen)
    want = brute_force_shapley(model, trained.heads, rows)
    np.testing.assert_allclose(model.run(rows, explain=True).shapley, want, rtol=0, atol=1e-5)


def test_the_channel_that_differs_from_the_baseline_gets_everything(
    model: Model, unseen: Float32
) -> None:
    baseline = model.spec.baseline
    rows = np.broadcast_to(baseline, (len(unseen), *baseline.shape)).copy()
    rows[:, :, 2] = unseen[:, :, 2]
    outputs = model.run(rows, explain=True)
    start = model.run(baseline[None]).margin[0]
    others = np.delete(outputs.shapley, 2, axis=1)
    assert not others.any()
    np.testing.assert_allclose(outputs.shapley[:, 2], outputs.margin - start, atol=1e-5)
    assert outputs.shapley[:, 2].any()


def test_the_baseline_needs_no_explanation(model: Model) -> None:
    assert not model.run(model.spec.baseline[None], explain=True).shapley.any()


def test_nothing_is_explained_unless_asked(model: Model, unseen: Float32) -> None:
    asked, unasked = model.run(unseen, explain=True), model.run(unseen)
    assert not unasked.shapley.any()
    assert asked.margin.tobytes() == unasked.margin.tobytes()


@pytest.mark.parametrize("players", [1, 2, 3, 7])
def test_any_number_of_channels(players: int) -> None:
    channels = tuple(Channel(f"c{i}", "1") for i in range(players))
    parts = train(channels, length=8)
    model = Model.load(
        assemble(parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows)
    )
    rows = parts.windows[:5]
    want = brute_force_shapley(model, parts.heads, rows)
    np.testing.assert_allclose(model.run(rows, explain=True).shapley, want, rtol=0, atol=1e-5)


def test_context_channels_are_no_players() -> None:
    channels = (
        Channel("errors", "1", Role.CONTEXT),
        Channel("vibration", "mm/s"),
        Channel("torque", "N.m"),
    )
    parts = train(channels, length=8)
    model = Model.load(
        assemble(parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows)
    )
    rows = parts.windows[:20]
    outputs = model.run(rows, explain=True)
    healthy = np.broadcast_to(model.spec.baseline, rows.shape).copy()
    healthy[:, :, 0] = rows[:, :, 0]
    gap = outputs.margin - model.run(healthy).margin
    assert not outputs.shapley[:, 0].any()
    np.testing.assert_allclose(outputs.shapley.sum(axis=1), gap, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        outputs.shapley, brute_force_shapley(model, parts.heads, rows), atol=1e-5
    )


@pytest.mark.parametrize("players", [1, 2, 5, 12])
def test_the_game_is_fair(players: int) -> None:
    table = exact(players)
    members = table.members
    assert members[0].all()
    assert not members[-1].any()
    np.testing.assert_allclose(table.share.sum(axis=1), 1, rtol=1e-5)
    for player in range(players):
        weighty = table.share[player] > 0
        joined, alone = members[table.joined[player]], members[table.alone[player]]
        changed = (joined != alone)[weighty]
        assert changed[:, player].all()
        assert changed.sum() == weighty.sum() == 2 ** (players - 1)


def test_another_baseline_is_another_explanation(trained: Trained, unseen: Float32) -> None:
    spec = replace(trained.spec, baseline=trained.windows[3])
    moved = Model.load(
        assemble(spec, trained.heads, trained.calibration, trained.novelty, windows=trained.windows)
    )
    want = brute_force_shapley(moved, trained.heads, unseen[:5])
    np.testing.assert_allclose(moved.run(unseen[:5], explain=True).shapley, want, atol=1e-5)


def test_a_window_without_readings_has_no_explanation(model: Model) -> None:
    nothing = np.full((2, 48, 5), np.nan, np.float32)
    assert np.isnan(model.run(nothing, explain=True).shapley).all()


def test_a_lost_sensor_is_explained_too() -> None:
    model = Model.load(tiny_model(seed=4))
    lost = np.broadcast_to(model.spec.baseline, (1, 48, 5)).copy()
    lost[:, :, 1] = np.nan
    outputs = model.run(lost, explain=True)
    assert np.isfinite(outputs.shapley).all()
    assert not np.delete(outputs.shapley, 1, axis=1).any()
