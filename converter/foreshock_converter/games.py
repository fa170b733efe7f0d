"""Which mixtures of window and baseline an explanation scores, and how their margins are weighed.

Up to `MOST_EXACT` sensors it is the whole game of 2^C coalitions (Shapley 1953); above, sampled
permutations (Castro, Gomez, Tejada 2009), each with its reverse, which cancels much of the error
(antithetic sampling: Mitchell, Cooper, Frank, Holmes 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.blocks import LANES
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]

MOST_EXACT: Final = 12
"""Above this many players, 2^C rows per window are too many."""
MOST_PAIRS: Final = 64
"""Pairs of permutations that are sampled where memory allows it."""
LEAST_PAIRS: Final = 8
"""Fewer pairs than this have no standard error worth telling."""
MOST_CELLS: Final = 2**23
"""Feature values (float32) that explaining one window may mix: 32 MiB."""
SEED: Final = 20_240_101


@dataclass(frozen=True, slots=True)
class Game:
    """The coalitions to score, and which differences between them make each player's value.

    `members` bool[K, C]: row 0 is everybody, the last row nobody. `joined` and `alone` int[C, H]
    are rows with and without the player; `share` float32[C, H] weighs their difference. `pairs` is
    0 when the values are exact; else column p of H is from permutation p, column p + pairs from its
    reverse.
    """

    members: Bools
    joined: Int64
    alone: Int64
    share: Float32
    pairs: int = 0

    @property
    def players(self) -> int:
        """How many sensors play."""
        return int(self.members.shape[1])


def game(players: int, features: int) -> Game:
    """Return the game of `players` sensors in a model of so many features.

    Raises:
        UnsupportedModelError: explaining one window would take more than `MOST_CELLS`.
    """
    if players <= MOST_EXACT:
        return exact(players)
    fit = MOST_CELLS // (2 * (players - 1) * features)
    pairs = min(MOST_PAIRS, fit // LANES * LANES)
    if pairs < LEAST_PAIRS:
        raise UnsupportedModelError(
            f"{players} measured channels with {features} features: explaining one window would "
            f"mix more than {MOST_CELLS} values; choose fewer features, make some channels context "
            "channels, or split the machine into two models"
        )
    return sampled(players, pairs)


def exact(players: int) -> Game:
    """Return the whole game: 2^C rows, and each player joins 2^(C-1) coalitions.

    A difference weighs |S|! (C-|S|-1)! / C! (Shapley 1953); H is padded with weightless ones.

    Raises:
        UnsupportedModelError: more players than can be enumerated.
    """
    members = _coalitions(players)
    row = np.arange(len(members))
    alone = np.stack([row[~members[:, player]] for player in range(players)])
    # Row r lacks the bits of r, because row 0 is everybody: joining clears the player's bit.
    joined = alone & ~(1 << np.arange(players)[:, None])
    shares = np.array([_share(before, players) for before in range(players)])
    weights = shares[members.sum(axis=1)[alone]].astype(np.float32)
    pad = ((0, 0), (0, -alone.shape[1] % LANES))
    return Game(members, np.pad(joined, pad), np.pad(alone, pad), np.pad(weights, pad))


def sampled(players: int, pairs: int, seed: int = SEED) -> Game:
    """Return the game of `pairs` random permutations and their reverses.

    Players join one after the other in a permutation's order, so each permutation's differences
    sum to the whole margin: the values are efficient, and unbiased over seeds.
    """
    rng = np.random.default_rng(seed)
    forward = np.stack([rng.permutation(players) for _ in range(pairs)])
    orders = np.concatenate([forward, forward[:, ::-1]])
    # How many have joined when the player does: rank of each player in each order.
    rank = np.argsort(orders, axis=1)
    steps = np.arange(1, players)
    between = (rank[:, None, :] < steps[:, None]).reshape(-1, players)
    everybody, nobody = np.ones((1, players), bool), np.zeros((1, players), bool)
    members = np.concatenate([everybody, between, nobody])
    first = 1 + np.arange(len(orders))[:, None] * (players - 1)
    prefix = first + np.arange(-1, players - 1)
    prefix = np.concatenate([prefix, np.zeros((len(orders), 1), np.int64)], axis=1)
    prefix[:, 0] = len(members) - 1
    joined = np.take_along_axis(prefix, rank + 1, axis=1).T
    alone = np.take_along_axis(prefix, rank, axis=1).T
    share = np.full(joined.shape, 1 / len(orders), np.float32)
    return Game(members, joined, alone, share, pairs)


def _coalitions(players: int) -> Bools:
    if players > MOST_EXACT:
        raise UnsupportedModelError(
            f"{players} measured channels: exact explanations reach {MOST_EXACT}; take `sampled`"
        )
    rows = np.arange(2**players)[::-1, None]
    return (rows >> np.arange(players) & 1).astype(bool)


def _share(before: int, players: int) -> float:
    return factorial(before) * factorial(players - before - 1) / factorial(players)
