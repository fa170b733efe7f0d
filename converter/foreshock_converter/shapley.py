"""Exact Shapley values of the measured channels, by mixing feature blocks.

A measured channel's features read that channel only, so a window whose channel is replaced by the
baseline's has exactly the features of the mixed blocks: 2^C rows tell the whole game
(Shapley 1953; interventional with one baseline, Sundararajan and Najmi 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import LANES, total
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    import numpy.typing as npt
    from spox import Var

    Bools = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]

MOST_PLAYERS: Final = 12
"""Above this, 2^C rows per window are too many."""


def coalitions(players: int) -> Bools:
    """Return bool[2^C, C], all combinations; row 0 is everybody, the last row nobody.

    Raises:
        UnsupportedModelError: more players than can be enumerated.
    """
    if players > MOST_PLAYERS:
        raise UnsupportedModelError(
            f"{players} measured channels: exact explanations reach {MOST_PLAYERS}; make some "
            "of them context channels, or split the machine into two models"
        )
    rows = np.arange(2**players)[::-1, None]
    return (rows >> np.arange(players) & 1).astype(bool)


@dataclass(frozen=True, slots=True)
class Game:
    """The 2^(C-1) coalitions that each player may join, as rows of `coalitions`.

    `joined` and `alone` int[C, H] are rows with and without the player; `share` float32[C, H] are
    the weights |S|! (C-|S|-1)! / C! (Shapley 1953). H is padded with rows that weigh nothing.
    """

    joined: npt.NDArray[np.int64]
    alone: npt.NDArray[np.int64]
    share: Float32


def game(players: int) -> Game:
    """Return the game of `players`."""
    members = coalitions(players)
    row = np.arange(len(members))
    alone = np.stack([row[~members[:, player]] for player in range(players)])
    # Row r lacks the bits of r, because row 0 is everybody: joining clears the player's bit.
    joined = alone & ~(1 << np.arange(players)[:, None])
    size = members.sum(axis=1)
    shares = np.array([_share(before, players) for before in range(players)])
    pad = ((0, 0), (0, -alone.shape[1] % LANES))
    return Game(
        np.pad(joined, pad), np.pad(alone, pad), np.pad(shares[size[alone]], pad).astype(np.float32)
    )


def mixed_rows(features: Var, baseline: Float32, owner: npt.NDArray[np.int64]) -> Var:
    """Return float32[2^C * N, F]: coalition by coalition, so that the first N rows are `features`.

    `baseline` float32[F] are the healthy window's features; `owner` int[F] is the player that a
    column belongs to, or -1 for a context column, which always stays the window's own.
    """
    keep = _keeps(owner)
    mixed = op.where(
        op.const(keep[:, None, :]),
        op.unsqueeze(features, op.const(np.array([0]))),
        op.const(baseline[None, None, :]),
    )
    return op.reshape(mixed, op.const(np.array([-1, len(baseline)])))


def values(margins: Var, players: int) -> Var:
    """Return Shapley values float32[N, C] of `margins` float32[2^C * N].

    A sum of differences and not a MatMul with signed weights: a player that changes nothing gets
    exactly zero.
    """
    table = game(players)
    shape = op.const(np.array([2**players, -1]))
    by_window = op.transpose(op.reshape(margins, shape), perm=[1, 0])
    joined = op.gather(by_window, op.const(table.joined), axis=1)
    alone = op.gather(by_window, op.const(table.alone), axis=1)
    weighted = op.mul(op.sub(joined, alone), op.const(table.share))
    return op.squeeze(total(weighted), op.const(np.array([2])))


def _keeps(owner: npt.NDArray[np.int64]) -> Bools:
    members = coalitions(int(owner.max(initial=-1)) + 1)
    return np.where(owner >= 0, members[:, np.maximum(owner, 0)], True)  # noqa: FBT003 - a value


def _share(before: int, players: int) -> float:
    return factorial(before) * factorial(players - before - 1) / factorial(players)
