"""Beyond the exact limit: unbiased, efficient, and honest about its own error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import spox.opset.ai.onnx.v21 as op
from onnxruntime import InferenceSession
from spox import Tensor, argument, build

from foreshock_converter import shapley
from foreshock_converter.assemble import assemble
from foreshock_converter.games import LEAST_PAIRS, MOST_CELLS, exact, game, sampled
from foreshock_converter.oracle import brute_force_samples
from foreshock_converter.parity import parity
from foreshock_converter.sample import train
from foreshock_converter.stress import stressed
from foreshock_wire.container import sealed
from foreshock_wire.model import OUTPUTS, Model
from foreshock_wire.spec import Channel

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.games import Game
    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

TWENTY = tuple(Channel(f"c{i}", "1") for i in range(20))
PLAYERS = 8
ROUNDING = 1e-5
"""What summing float32 margins in another order may change."""


@pytest.fixture(scope="module")
def parts() -> Trained:
    return train(TWENTY, length=8, rounds=30)


@pytest.fixture(scope="module")
def twenty_bytes(parts: Trained) -> bytes:
    return assemble(
        parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
    )


@pytest.fixture(scope="module")
def twenty(twenty_bytes: bytes) -> Model:
    return Model.load(twenty_bytes)


def explained(margins: Float32, played: Game) -> tuple[Float32, Float32]:
    """Run the graph's own `values` on margins float32[K, N]."""
    given = argument(Tensor(np.float32, ("K",)))
    value, error = shapley.values(op.unsqueeze(given, op.const(np.array([1]))), played)
    graph = build({"margins": given}, {"value": value, "error": error})
    session = InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    value, error = session.run(None, {"margins": margins.reshape(-1)})
    return value, error


def random_games(windows: int, seed: int) -> Float32:
    """Worth float32[2^C, N] of every coalition: trees' kind of interactions, some lopsided."""
    rng = np.random.default_rng(seed)
    members = exact(PLAYERS).members
    worth = np.zeros((len(members), windows))
    for _ in range(12):
        picked = rng.integers(0, PLAYERS, 3)
        together = np.logical_and.reduce(members[:, picked], axis=1)
        worth += np.outer(together, rng.exponential(1, windows))
        worth += np.outer(members[:, picked[0]], rng.normal(0, 1, windows))
    return worth.astype(np.float32)


def of_rows(worth: Float32, played: Game) -> Float32:
    """Look up the worth of the game's coalitions in the whole game's table."""
    place = {row.tobytes(): i for i, row in enumerate(exact(PLAYERS).members)}
    return worth[[place[row.tobytes()] for row in played.members]]


def test_it_equals_the_exact_values_within_its_error_and_the_error_is_honest() -> None:
    """About 95 % of the intervals value +- 2 standard errors hold the exact value."""
    held = []
    for seed in range(20):
        worth = random_games(100, seed)
        played = sampled(PLAYERS, 64, seed=seed)
        value, error = explained(of_rows(worth, played), played)
        want, none = explained(worth, exact(PLAYERS))
        assert not none.any()
        off = np.abs(value - want)
        assert (off <= ROUNDING + 6 * error).all()
        # A player that interacts with nobody has no sampling error at all.
        held.append((off < 2 * error)[error > ROUNDING].mean())
    # 160 independent (seed, player) pairs: one standard error of the share is .017.
    assert 0.90 < np.mean(held) < 0.99


def test_it_is_unbiased() -> None:
    """The mean over many seeds comes nearer to the exact values than any single one."""
    worth = random_games(1, seed=3)
    want, _ = explained(worth, exact(PLAYERS))
    games = [sampled(PLAYERS, 8, seed=seed) for seed in range(400)]
    values = np.array([explained_by_hand(of_rows(worth, played), played) for played in games])
    spread = values.std(axis=0, ddof=1) / np.sqrt(len(games))
    assert (np.abs(values.mean(axis=0) - want[0]) < 4 * spread).all()


def explained_by_hand(margins: Float32, played: Game) -> Float64:
    worth = margins[:, 0].astype(np.float64)
    means: Float64 = (worth[played.joined] - worth[played.alone]).mean(axis=1)
    return means


def test_a_reverse_cancels_error() -> None:
    """A permutation and its reverse err less than two permutations of their own."""
    worth = random_games(1, seed=5)
    want, _ = explained(worth, exact(PLAYERS))
    with_reverse, without = [], []
    for seed in range(200):
        played = sampled(PLAYERS, 32, seed=seed)
        margins = of_rows(worth, played)[:, 0].astype(np.float64)
        gains = margins[played.joined] - margins[played.alone]
        with_reverse.append(gains[:, [*range(16), *range(32, 48)]].mean(axis=1) - want[0])
        without.append(gains[:, :32].mean(axis=1) - want[0])
    assert np.square(with_reverse).sum() < 0.7 * np.square(without).sum()


@pytest.mark.parametrize("players", [2, 3, 13, 40])
def test_each_permutation_adds_one_player_after_the_other(players: int) -> None:
    played = sampled(players, 8)
    members = played.members
    assert members[0].all()
    assert not members[-1].any()
    for column in range(16):
        joined, alone = members[played.joined[:, column]], members[played.alone[:, column]]
        np.testing.assert_array_equal(joined != alone, np.eye(players, dtype=bool))
        assert sorted(alone.sum(axis=1)) == list(range(players))
        mirrored = members[played.alone[:, (column + 8) % 16]]
        np.testing.assert_array_equal(mirrored, ~joined)


def test_the_memory_is_bounded() -> None:
    for players, features in [(13, 195), (21, 400), (60, 900), (120, 1_000)]:
        played = game(players, features)
        assert LEAST_PAIRS <= played.pairs <= 64
        assert (len(played.members) - 2) * features <= MOST_CELLS


def test_twenty_channels_sum_to_the_margin_above_the_baseline(
    twenty: Model, parts: Trained
) -> None:
    rows = stressed(parts.windows[:3])[:-3]
    outputs = twenty.run(rows, explain=True)
    start = twenty.run(twenty.spec.baseline[None]).margin[0]
    np.testing.assert_allclose(outputs.shapley.sum(axis=1), outputs.margin - start, atol=1e-5)
    assert outputs.shapley_error.max() > 1e-3
    assert twenty.spec.explanation.permutations == 128
    nothing = twenty.run(np.full((1, 8, 20), np.nan, np.float32), explain=True)
    assert np.isnan(nothing.shapley).all()
    assert np.isnan(nothing.shapley_error).all()


def test_twenty_channels_equal_brute_force_over_the_same_permutations(
    twenty: Model, parts: Trained
) -> None:
    played = game(20, len(twenty.spec.features))
    rows = parts.windows[:4]
    value, error = brute_force_samples(twenty, parts.heads, rows, played)
    outputs = twenty.run(rows, explain=True)
    np.testing.assert_allclose(outputs.shapley, value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(outputs.shapley_error, error, rtol=0, atol=1e-5)


def test_channels_that_differ_get_their_exact_values_and_the_others_zero(
    twenty: Model, parts: Trained
) -> None:
    """Ten of twenty sensors differ from the baseline: the exact game of ten is the truth."""
    baseline = twenty.spec.baseline
    rows = np.broadcast_to(baseline, (10, *baseline.shape)).copy()
    rows[:, :, :10] = parts.windows[:10, :, :10]
    outputs = twenty.run(rows, explain=True)
    want = exact_of_ten(twenty, rows)
    assert not outputs.shapley[:, 10:].any()
    assert not outputs.shapley_error[:, 10:].any()
    # Float32 rounding, and then five standard errors.
    assert (
        np.abs(outputs.shapley[:, :10] - want) <= 1e-5 + 5 * outputs.shapley_error[:, :10]
    ).all()
    assert np.abs(want).max() > 0.1


def exact_of_ten(model: Model, rows: Float32) -> Float64:
    """Return the values of the first ten players, the others being as in the baseline."""
    played = exact(10)
    values = []
    for row in rows:
        members = np.concatenate([played.members, np.zeros((len(played.members), 10), bool)], 1)
        mixed = np.where(members[:, None, :], row, model.spec.baseline)
        worth = model.run(mixed).margin.astype(np.float64)
        gains = worth[played.joined] - worth[played.alone]
        values.append((gains * played.share).sum(axis=1))
    return np.array(values)


def test_twenty_channels_pass_parity(twenty_bytes: bytes, parts: Trained) -> None:
    report = parity(twenty_bytes, parts.heads, parts.calibration, parts.windows[:20])
    assert report.ok
    assert report.explained > 0


def test_every_output_of_twenty_channels_has_the_same_bits(twenty: Model, parts: Trained) -> None:
    rows = parts.windows[:40]
    whole = twenty.run(rows, explain=True)
    alone = [twenty.run(rows[i : i + 1], explain=True) for i in range(len(rows))]
    for name in OUTPUTS:
        joined = np.concatenate([getattr(one, name) for one in alone])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name


def test_a_file_from_before_there_was_an_error_explains_exactly(
    model_bytes: bytes, model: Model, unseen: Float32
) -> None:
    proto = onnx.load_from_string(model_bytes)
    older = [output for output in proto.graph.output if output.name != "shapley_error"]
    del proto.graph.output[:]
    proto.graph.output.extend(older)
    unseen = np.concatenate([unseen[:5], np.full((1, 48, 5), np.nan, np.float32)])
    outputs = Model.load(sealed(proto.SerializeToString())).run(unseen, explain=True)
    want = model.run(unseen, explain=True)
    for name in OUTPUTS:
        np.testing.assert_array_equal(getattr(outputs, name), getattr(want, name), name)
