"""Spec, what was trained, calibration and novelty become the bytes of one model file.

The flow is `_outputs`: window -> features -> rows -> the one scorer -> every output. The `If`
chooses rows before the ensemble, because scoring inside its branches would hold the trees twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, argument, build

from foreshock_converter import shapley
from foreshock_converter.blocks import LANES, finite, scalar, total
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import Computed, FeatureGraph
from foreshock_converter.games import Game, game
from foreshock_converter.heads import MOST_SIGMAS, Novelty
from foreshock_converter.reference import golden_windows, histograms
from foreshock_wire.container import sealed
from foreshock_wire.model import OUTPUTS, Model
from foreshock_wire.spec import METADATA_KEY, Explanation, Golden, ModelSpec, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import onnx
    from spox import Var

    from foreshock_converter.calibration import Calibration
    from foreshock_converter.scorer import Predictor, Scorer

    Float32 = npt.NDArray[np.float32]

MOST_METADATA_BYTES: Final = 1_000_000
"""Metadata costs about three times its size in a gateway's memory."""
THRESHOLD_TOLERANCE: Final = 1e-3
"""How far `threshold` may be from the calibrated `threshold_margin`, as a probability."""


@dataclass(frozen=True, slots=True)
class _Parts:
    spec: ModelSpec
    graph: FeatureGraph
    scorer: Scorer
    calibration: Calibration
    novelty: Novelty
    game: Game


def assemble(
    spec: ModelSpec,
    predictor: Predictor,
    calibration: Calibration,
    novelty: Novelty,
    *,
    windows: Float32,
) -> bytes:
    """Return the model file.

    `windows` float32[N, T, C] are typical ones: golden windows are made from them and the
    reference histograms counted on them, unless the spec has histograms. `features`, `explanation`
    and `golden` of the spec are filled here. An all-missing window has no score: NaN in every
    output but `features`.

    Raises:
        UnsupportedModelError: parts that do not fit together or that the graph cannot hold.
        ChannelMismatchError: the windows have another shape than the spec's.
    """
    graph = FeatureGraph.of(spec)
    features = graph.extract(windows)
    spec = replace(
        spec,
        features=graph.names,
        reference=spec.reference or histograms(graph.names, features),
        golden=None,
    )
    parts = _parts(spec, graph, predictor, calibration, novelty)
    spec = replace(spec, explanation=_explanation(parts.game))
    proto = _graph(parts)
    golden = golden_windows(windows, graph, parts.scorer.thresholds())
    seen = Model.load(_with_spec(proto, spec)).run(golden, explain=True)
    return _with_spec(proto, replace(spec, golden=Golden(golden, seen.margin, seen.shapley)))


def _parts(
    spec: ModelSpec,
    graph: FeatureGraph,
    predictor: Predictor,
    calibration: Calibration,
    novelty: Novelty,
) -> _Parts:
    width = len(graph.names)
    if novelty.median.shape != (width,) or novelty.scale.shape != (width,):
        raise UnsupportedModelError(
            f"novelty was fitted on {len(novelty.median)} features, the graph gives {width}"
        )
    if abs(calibration.probability(spec.threshold_margin) - spec.threshold) > THRESHOLD_TOLERANCE:
        raise UnsupportedModelError(
            f"threshold {spec.threshold} is not the calibrated threshold_margin "
            f"{spec.threshold_margin}: set it to the calibration's probability of that margin"
        )
    return _Parts(
        spec=spec,
        graph=graph,
        scorer=predictor.scorer(spec, graph.names),
        calibration=calibration,
        novelty=novelty,
        game=game(len(graph.of_role(Role.MEASURED)), width),
    )


def _explanation(played: Game) -> Explanation:
    return Explanation(rows=len(played.members), permutations=2 * played.pairs)


def _graph(parts: _Parts) -> onnx.ModelProto:
    shape = ("N", parts.spec.length, len(parts.spec.channels))
    inputs = {
        "window": argument(Tensor(np.float32, shape)),
        "explain": argument(Tensor(np.bool_, ())),
    }
    outputs = _outputs(parts, **inputs)
    return build(inputs, {name: outputs[name] for name in OUTPUTS})


def _outputs(parts: _Parts, window: Var, explain: Var) -> dict[str, Var]:
    computed = parts.graph.apply(window)
    features = computed.features
    count = op.shape(features, start=0, end=1)
    (rows,) = op.if_(
        explain,
        then_branch=lambda: [
            shapley.mixed_rows(parts.graph, window, features, parts.spec.baseline, parts.game)
        ],
        else_branch=lambda: [op.identity(features)],
    )
    unscored = _unscored(parts, computed)
    margins = parts.scorer.nodes(rows)
    own = op.add(op.slice(margins, _ints(0), count, _ints(0)), unscored)
    columns = _columns_by_head(own, parts.scorer.widths)
    margin = columns["fault"]
    values, errors = _shapley(parts, explain, margins, unscored, count)
    return {
        "margin": op.squeeze(margin, _ints(1)),
        "probability": op.squeeze(parts.calibration.nodes(margin), _ints(1)),
        "modes": _modes(columns, count, len(parts.spec.modes)),
        "lead_time": _lead_time(parts, columns, count),
        "novelty": op.squeeze(op.add(_novelty(parts.novelty, features), unscored), _ints(1)),
        "features": features,
        "shapley": values,
        "shapley_error": errors,
    }


def _columns_by_head(margins: Var, widths: Mapping[str, int]) -> dict[str, Var]:
    if len(widths) == 1:
        return dict.fromkeys(widths, margins)
    return dict(zip(widths, op.split(margins, _ints(*widths.values()), axis=1), strict=True))


def _unscored(parts: _Parts, computed: Computed) -> Var:
    """float32[N, 1]: 0 where there is a score, NaN where nothing or a needed feature is absent."""
    if not parts.scorer.needs:
        return computed.unscored
    needed = op.gather(computed.features, op.const(np.array(parts.scorer.needs)), axis=1)
    # The features are finite or NaN, and a NaN makes the sum NaN; zero times a number is zero.
    absent = op.reduce_sum(op.mul(needed, scalar(0)), _ints(1))
    return op.add(computed.unscored, absent)


def _modes(columns: Mapping[str, Var], count: Var, width: int) -> Var:
    if "modes" not in columns:
        return _filled(np.nan, count, width)
    return op.softmax(columns["modes"], axis=1)


def _lead_time(parts: _Parts, columns: Mapping[str, Var], count: Var) -> Var:
    quantiles = parts.spec.lead_time_quantiles
    if "lead_time" not in columns:
        return _filled(np.nan, count, len(quantiles))
    hours = columns["lead_time"]
    law = parts.scorer.failure_time
    if law is not None:
        offsets = np.array([law.offset(quantile) for quantile in quantiles], np.float32)
        hours = op.exp(op.add(hours, op.const(offsets)))
    shifted = op.add(hours, op.const(parts.scorer.shift))
    ordered, _ = op.top_k(shifted, _ints(len(quantiles)), axis=1, largest=0)
    return op.max([ordered, scalar(0)])


def _novelty(novelty: Novelty, features: Var) -> Var:
    used = np.flatnonzero(novelty.used)
    pad = -len(used) % LANES
    picked = op.gather(features, op.const(used), axis=1)
    score = op.div(op.sub(picked, op.const(novelty.median[used])), op.const(novelty.scale[used]))
    present = finite(score)
    clipped = op.clip(score, scalar(-MOST_SIGMAS), scalar(MOST_SIGMAS))
    square = op.where(present, op.mul(clipped, clipped), scalar(0))
    pads = op.const(np.array([0, 0, 0, pad]))
    held = op.pad(op.cast(present, to=np.float32), pads)
    return op.div(total(op.pad(square, pads)), total(held))


def _shapley(
    parts: _Parts, explain: Var, margins: Var, unscored: Var, count: Var
) -> tuple[Var, Var]:
    width = len(parts.spec.channels)

    def explained() -> Sequence[Var]:
        fault = op.gather(margins, op.const(np.array(0)), axis=1)
        found = shapley.values(fault, parts.game)
        return [op.add(_by_channel(parts.spec, players), unscored) for players in found]

    values, errors = op.if_(
        explain,
        then_branch=explained,
        else_branch=lambda: [_filled(0, count, width), _filled(0, count, width)],
    )
    return values, errors


def _by_channel(spec: ModelSpec, players: Var) -> Var:
    """Put players in their channels' columns; context channels get zero."""
    measured = np.array([channel.role is Role.MEASURED for channel in spec.channels])
    if measured.all():
        return players
    place = np.where(measured, np.cumsum(measured) - 1, measured.sum())
    with_zero = op.pad(players, op.const(np.array([0, 0, 0, 1])))
    return op.gather(with_zero, op.const(place), axis=1)


def _filled(value: float, count: Var, width: int) -> Var:
    shape = op.concat([count, _ints(width)], axis=0)
    return op.expand(scalar(value), shape)


def _ints(*values: int) -> Var:
    return op.const(np.array(values, np.int64))


def _with_spec(proto: onnx.ModelProto, spec: ModelSpec) -> bytes:
    text = spec.to_json()
    if len(text) > MOST_METADATA_BYTES:
        raise UnsupportedModelError(
            f"the spec of {spec.name!r} is {len(text)} bytes of metadata, at most "
            f"{MOST_METADATA_BYTES} travel in a model: shorten its advice or provenance"
        )
    del proto.metadata_props[:]
    proto.metadata_props.add(key=METADATA_KEY, value=text)
    return sealed(proto.SerializeToString(deterministic=True))
