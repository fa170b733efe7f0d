"""Shapley values by brute force over raw windows: what the graph's explanation is held against.

Raw windows are mixed with the baseline, channel by channel, and each mixture goes through the
features and what was trained; no arithmetic is shared with the graph's own explanation.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_wire.spec import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from foreshock_converter.games import Game
    from foreshock_converter.scorer import Predictor
    from foreshock_wire.model import Model

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

CHUNK: Final = 512


def players_of(model: Model) -> list[int]:
    """Return the columns of the window that play: the measured channels."""
    return [i for i, c in enumerate(model.spec.channels) if c.role is Role.MEASURED]


def brute_force_shapley(model: Model, predictor: Predictor, windows: Float32) -> Float64:
    """Return exact Shapley values float64[N, C] from all 2^C coalitions (Shapley 1953)."""
    players = len(players_of(model))
    subsets = list(_subsets(range(players)))
    members = np.array([[p in subset for p in range(players)] for subset in subsets])
    return _placed(
        model,
        [
            _exact(
                dict(zip(subsets, _worth(model, predictor, window, members), strict=True)), players
            )
            for window in windows
        ],
    )


def brute_force_samples(
    model: Model, predictor: Predictor, windows: Float32, game: Game
) -> tuple[Float64, Float64]:
    """Return values and standard errors, float64[N, C] each, from the game's own permutations."""
    draws = []
    for window in windows:
        worth = _worth(model, predictor, window, game.members).astype(np.float64)
        gains = worth[game.joined] - worth[game.alone]
        draws.append((gains[:, : game.pairs] + gains[:, game.pairs :]) / 2)
    error = [np.std(draw, axis=1, ddof=1) / np.sqrt(game.pairs) for draw in draws]
    return _placed(model, [draw.mean(axis=1) for draw in draws]), _placed(model, error)


def _worth(model: Model, predictor: Predictor, window: Float32, members: Bools) -> Float64:
    """Return the margin float64[K] of `window` with all but each coalition's sensors healthy."""
    present = np.ones((len(members), len(model.spec.channels)), bool)
    present[:, players_of(model)] = members
    rows = np.where(present[:, None, :], window, model.spec.baseline)
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    features = np.concatenate([model.run(chunk).features for chunk in chunks])
    return predictor.margin(features)


def _exact(worth: dict[tuple[int, ...], np.float64], players: int) -> Float64:
    values = np.zeros(players)
    for player in range(players):
        for coalition in _subsets([other for other in range(players) if other != player]):
            joined = tuple(sorted((*coalition, player)))
            gain = float(worth[joined]) - float(worth[coalition])
            values[player] += gain * _share(len(coalition), players)
    return values


def _placed(model: Model, rows: list[Float64]) -> Float64:
    """Put the players' values into their channels' columns; the others have none."""
    values = np.zeros((len(rows), len(model.spec.channels)))
    if rows:
        values[:, players_of(model)] = np.stack(rows)
    return values


def _share(before: int, players: int) -> float:
    return factorial(before) * factorial(players - before - 1) / factorial(players)


def _subsets(players: range | list[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(players) + 1):
        yield from combinations(players, size)
