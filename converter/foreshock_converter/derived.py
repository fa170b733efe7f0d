"""Derived channels inside the graph, and what they are when some of their parents are healthy.

A derived channel is no player of an explanation: its features follow the on/off state of its
parents, so they are computed for each combination, and the values stay exact for the sensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import spox.opset.ai.onnx.v21 as op

from foreshock_converter.blocks import finite_or_nan, scalar
from foreshock_wire.derived import Derived, Operation
from foreshock_wire.spec import Channel, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from spox import Var

    from foreshock_converter.games import Game


@dataclass(frozen=True, slots=True)
class Mixture:
    """A derived channel while only some parents are the window's own: `healthy` are the others."""

    derived: Derived
    healthy: frozenset[str]


def derived_cells(cells: Var, channels: Sequence[Channel], derived: Sequence[Derived]) -> list[Var]:
    """Return float32[N, 1, T'] of each derived channel from `cells` float32[N, C, T']."""
    return [
        _operated(one, *(_of(cells, channels, parent) for parent in one.parents)) for one in derived
    ]


def mixtures_of(derived: Derived, channels: Sequence[Channel]) -> tuple[Mixture, ...]:
    """Return every on/off combination of its measured parents; the first has all of them on."""
    measured = [c.id for c in channels if c.role is Role.MEASURED and c.id in derived.parents]
    return tuple(
        Mixture(derived, frozenset(p for p, off in zip(measured, offs, strict=True) if off))
        for offs in product((False, True), repeat=len(measured))
    )


def mixed_cells(mixture: Mixture, cells: Var, baseline: Var, channels: Sequence[Channel]) -> Var:
    """Return float32[N, 1, T'], healthy parents read from `baseline` float32[1, C, T']."""
    parents = [
        _of(baseline if parent in mixture.healthy else cells, channels, parent)
        for parent in mixture.derived.parents
    ]
    # Even where all are healthy there is one row per window.
    first = op.expand(parents[0], op.shape(_of(cells, channels, mixture.derived.parents[0])))
    return _operated(mixture.derived, first, parents[1])


def mixture_by_coalition(
    mixtures: Sequence[Mixture], players: Sequence[str], game: Game
) -> npt.NDArray[np.int64]:
    """Return int[K]: which of the mixtures each coalition of the game sees."""
    places = {mixture.healthy: place for place, mixture in enumerate(mixtures)}
    parents = set().union(*places)
    return np.array(
        [
            places[
                frozenset(p for p, on in zip(players, row, strict=True) if not on and p in parents)
            ]
            for row in game.members
        ]
    )


def _of(cells: Var, channels: Sequence[Channel], parent: str) -> Var:
    place = [channel.id for channel in channels].index(parent)
    return op.gather(cells, op.const(np.array([place])), axis=1)


def _operated(derived: Derived, first: Var, second: Var) -> Var:
    if derived.operation is Operation.PRODUCT:
        result = op.mul(first, second)
    elif derived.operation is Operation.DIFFERENCE:
        result = op.sub(first, second)
    else:
        # An infinite reading is a missing one, and not a divisor that gives zero.
        result = op.div(first, finite_or_nan(second))
    return result if derived.factor == 1 else op.mul(result, scalar(derived.factor))
