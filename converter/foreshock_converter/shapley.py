"""Shapley values of the measured channels inside the graph, by mixing feature blocks.

A measured channel's features read that channel only, so a window whose channel is replaced by the
baseline's has exactly the features of the mixed blocks (interventional values with one baseline,
Sundararajan and Najmi 2020). Which mixtures are scored is in `games`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import scalar, total

if TYPE_CHECKING:
    import numpy.typing as npt
    from spox import Var

    from foreshock_converter.games import Game

    Float32 = npt.NDArray[np.float32]


def mixed_rows(features: Var, baseline: Float32, owner: npt.NDArray[np.int64], game: Game) -> Var:
    """Return float32[K * N, F]: coalition by coalition, so that the first N rows are `features`.

    `baseline` float32[F] are the healthy window's features; `owner` int[F] is the player that a
    column belongs to, or -1 for a context column, which always stays the window's own.
    """
    keep = np.where(owner >= 0, game.members[:, np.maximum(owner, 0)], True)  # noqa: FBT003 - a value
    mixed = op.where(
        op.const(keep[:, None, :]),
        op.unsqueeze(features, _ints(0)),
        op.const(baseline[None, None, :]),
    )
    return op.reshape(mixed, _ints(-1, len(baseline)))


def values(margins: Var, game: Game) -> tuple[Var, Var]:
    """Return Shapley values and their standard errors, both float32[N, C].

    `margins` float32[K * N] stand coalition by coalition. A value is a sum of differences and not
    a MatMul with signed weights: a player that changes nothing gets exactly zero.
    """
    by_window = op.transpose(op.reshape(margins, _ints(len(game.members), -1)), perm=[1, 0])
    joined = op.gather(by_window, op.const(game.joined), axis=1)
    alone = op.gather(by_window, op.const(game.alone), axis=1)
    gains = op.sub(joined, alone)
    value = total(op.mul(gains, op.const(game.share)))
    error = _standard_error(gains, value, game.pairs) if game.pairs else _zeros(value)
    return op.squeeze(value, _ints(2)), op.squeeze(error, _ints(2))


def _standard_error(gains: Var, value: Var, pairs: int) -> Var:
    """Of the mean of `pairs` independent pairs: a permutation and its reverse are one draw."""
    forward = op.slice(gains, _ints(0), _ints(pairs), _ints(2))
    backward = op.slice(gains, _ints(pairs), _ints(2 * pairs), _ints(2))
    deviation = op.sub(op.mul(op.add(forward, backward), scalar(0.5)), value)
    spread = total(op.mul(deviation, deviation))
    return op.sqrt(op.div(spread, scalar(pairs * (pairs - 1))))


def _zeros(like: Var) -> Var:
    return op.expand(scalar(0), op.shape(like))


def _ints(*numbers: int) -> Var:
    return op.const(np.array(numbers, np.int64))
