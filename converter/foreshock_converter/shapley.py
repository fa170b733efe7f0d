"""Shapley values of the measured channels inside the graph, by mixing feature blocks.

A measured channel's features read that channel only, so a window whose channel is replaced by the
baseline's has exactly the features of the mixed blocks (interventional values with one baseline,
Sundararajan and Najmi 2020). A derived channel's block is computed for each on/off combination of
its parents. Which mixtures are scored is in `games`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import cells_of, integers, scalar, total
from foreshock_converter.derived import mixed_cells, mixture_by_coalition, mixtures_of
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    import numpy.typing as npt
    from spox import Var

    from foreshock_converter.features import FeatureGraph
    from foreshock_converter.games import Game

    Float32 = npt.NDArray[np.float32]
    Int64 = npt.NDArray[np.int64]


def mixed_rows(
    graph: FeatureGraph, window: Var, features: Var, baseline: Float32, game: Game
) -> Var:
    """Return float32[K * N, F]: coalition by coalition, so that the first N rows are `features`.

    `features` float32[N, F] are those of `window` float32[N, T, C], `baseline` float32[T, C] is the
    healthy window.
    """
    count = op.shape(features, start=0, end=1)
    healthy = graph.extract(baseline[None])[0]
    roles = [channel.role for channel, _ in graph.columns]
    measured, derived, context = (
        np.flatnonzero([role is wanted for role in roles])
        for wanted in (Role.MEASURED, Role.DERIVED, Role.CONTEXT)
    )
    own = op.unsqueeze(features, integers(0))
    owner = [graph.of_role(Role.MEASURED).index(graph.columns[i][0]) for i in measured]
    parts = [
        op.where(
            op.const(game.members[:, owner][:, None, :]),
            _columns(own, measured, len(roles)),
            op.const(healthy[measured][None, None, :]),
        )
    ]
    if len(derived):
        parts += _mixed_derived(graph, window, baseline, game)
    if len(context):
        shape = op.concat([integers(len(game.members)), count, integers(len(context))], axis=0)
        parts.append(op.expand(_columns(own, context, len(roles)), shape))
    mixed = op.concat(parts, axis=2) if len(parts) > 1 else parts[0]
    return op.reshape(mixed, integers(-1, len(roles)))


def _mixed_derived(graph: FeatureGraph, window: Var, baseline: Float32, game: Game) -> list[Var]:
    """Return each derived channel's columns float32[K, N, f], as each coalition sees them."""
    cells = cells_of(window, graph.length)
    healthy = cells_of(op.const(baseline[None]), graph.length)
    players = [channel.id for channel in graph.of_role(Role.MEASURED)]
    mixed = []
    for derived in graph.derived:
        source = Channel(derived.id, derived.unit, Role.DERIVED)
        width = sum(channel == source for channel, _ in graph.columns)
        if not width:
            continue
        mixtures = mixtures_of(derived, graph.channels)
        block = graph.block([mixed_cells(one, cells, healthy, graph.channels) for one in mixtures])
        found = graph.flat(block, [source] * len(mixtures))
        by_mixture = op.reshape(found, integers(-1, len(mixtures), width))
        seen = mixture_by_coalition(mixtures, players, game)
        mixed.append(op.gather(op.transpose(by_mixture, perm=[1, 0, 2]), op.const(seen), axis=0))
    return mixed


def _columns(rows: Var, picked: Int64, width: int) -> Var:
    """Pick columns of rows float32[1, N, width], which are neighbours."""
    if len(picked) == width:
        return rows
    return op.slice(rows, integers(picked[0]), integers(picked[-1] + 1), integers(2))


def values(margins: Var, game: Game) -> tuple[Var, Var]:
    """Return Shapley values and their standard errors, both float32[N, C].

    `margins` float32[K * N] stand coalition by coalition. A value is a sum of differences and not
    a MatMul with signed weights: a player that changes nothing gets exactly zero.
    """
    by_window = op.transpose(op.reshape(margins, integers(len(game.members), -1)), perm=[1, 0])
    joined = op.gather(by_window, op.const(game.joined), axis=1)
    alone = op.gather(by_window, op.const(game.alone), axis=1)
    gains = op.sub(joined, alone)
    value = total(op.mul(gains, op.const(game.share)))
    error = _standard_error(gains, value, game.pairs) if game.pairs else _zeros(value)
    return op.squeeze(value, integers(2)), op.squeeze(error, integers(2))


def _standard_error(gains: Var, value: Var, pairs: int) -> Var:
    """Of the mean of `pairs` independent pairs: a permutation and its reverse are one draw."""
    forward = op.slice(gains, integers(0), integers(pairs), integers(2))
    backward = op.slice(gains, integers(pairs), integers(2 * pairs), integers(2))
    deviation = op.sub(op.mul(op.add(forward, backward), scalar(0.5)), value)
    spread = total(op.mul(deviation, deviation))
    return op.sqrt(op.div(spread, scalar(pairs * (pairs - 1))))


def _zeros(like: Var) -> Var:
    return op.expand(scalar(0), op.shape(like))
