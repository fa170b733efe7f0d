"""The way through a door: read, put in its place, write the file, and prove it.

Nothing is written unless the proof holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.doors.brought import Brought
from foreshock_converter.doors.files import read_estimator
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import FeatureGraph
from foreshock_converter.heads import Novelty
from foreshock_converter.parity import PROOF_WINDOWS, ParityReport, parity
from foreshock_converter.reference import baseline_window
from foreshock_wire.spec import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_converter.doors.request import Request

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

SAME: Final = 1e-9
"""Probabilities this near are the same number: what summing in float64 leaves."""
NEAR: Final = 1e-4
"""How far a threshold moves at most to keep off a probability."""
MOST_SHAPLEY: Final = 1e-2
"""In float32 the margin of a probability of 1e-5 is known to about this much."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The model file, its proof, and what a person should know."""

    data: bytes
    report: ParityReport
    notes: tuple[str, ...]


def admit(path: Path, request: Request, windows: Float32, *, trust: bool = False) -> Admitted:
    """Turn an estimator's file into a model file and prove it on `windows` float32[N, T, C].

    The report may be a refusal: `report.require()` raises then.

    Raises:
        UnsupportedModelError: the file, the request and the windows do not fit together.
    """
    graph = FeatureGraph(request.window_channels, request.length, request.period_s)
    features = graph.extract(windows)
    brought = _placed(path, request, graph.names, features, trust=trust)
    scored = brought.scores(features)
    if not scored.any():
        raise UnsupportedModelError(
            f"{path.name} has a score for none of the {len(windows)} windows given: they lack "
            "readings"
        )
    margin = np.full(len(windows), np.nan)
    margin[scored] = brought.margin(features[scored])
    limit, notes = settled(request.threshold, Platt().probability(margin[scored]))
    spec, novelty = _spec(
        path, request, brought, limit, windows=windows, features=features, margin=margin
    )
    data = assemble(spec, brought, Platt(), novelty, windows=windows)
    report = parity(
        data, brought, Platt(), windows, at_least=PROOF_WINDOWS, most_shapley=MOST_SHAPLEY
    )
    return Admitted(data, report, brought.estimator.notes + notes)


def settled(threshold: float, probabilities: Float64) -> tuple[float, tuple[str, ...]]:
    """Return a threshold that no probability lies on, and what to say about it.

    A forest of 50 trees gives multiples of 1/50, .5 among them, and whether .5 is reached would
    hang on the last bit. The threshold moves below them, half the way to the next lower one at
    most, so that every decision stays as the estimator makes it.
    """
    lies_on_one = (np.abs(probabilities - threshold) < SAME).any()
    goes_in_steps = len(np.unique(probabilities.round(9))) <= len(probabilities) / 2
    if not lies_on_one and not goes_in_steps:
        return threshold, ()
    below = probabilities[probabilities < threshold - SAME]
    gap = threshold - float(below.max(initial=threshold - 2 * NEAR))
    moved = threshold - min(NEAR, gap / 2)
    note = (
        f"the threshold is {moved:.6g}: probabilities of exactly {threshold:g} can occur, and "
        "rounding must not decide"
    )
    return moved, (note,)


def _placed(
    path: Path, request: Request, names: tuple[str, ...], features: Float32, *, trust: bool
) -> Brought:
    wanted = request.features
    columns = _columns(path, wanted, names) if wanted else None
    own = features if columns is None else features[:, columns]
    estimator = read_estimator(path, own, trust=trust)
    if columns is None:
        columns = _columns(path, estimator.names, names)
    if len(columns) != estimator.features:
        raise UnsupportedModelError(
            f"{path.name} reads {estimator.features} features, the request names {len(columns)}: "
            "name them all under `features`, in the order that it was trained on"
        )
    if estimator.classes != len(request.classes):
        raise UnsupportedModelError(
            f"{path.name} knows {estimator.classes} classes, the request names "
            f"{', '.join(request.classes)}: name them all under `classes`, in its order"
        )
    return Brought(estimator, columns, request.healthy_class)


def _columns(path: Path, wanted: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    """Find features by name; a channel's name alone stands for its newest reading."""
    full = [name if name in names else f"{name}.last" for name in wanted]
    if not wanted:
        raise UnsupportedModelError(
            f"{path.name} does not say which features it reads: name them under `features`, in the "
            "order that it was trained on"
        )
    if unknown := [name for name, found in zip(wanted, full, strict=True) if found not in names]:
        raise UnsupportedModelError(
            f"{path.name} reads {', '.join(unknown)}, which no channel gives; there are "
            f"{', '.join(names[:40])}"
        )
    return tuple(names.index(name) for name in full)


def _spec(
    path: Path,
    request: Request,
    brought: Brought,
    limit: float,
    *,
    windows: Float32,
    features: Float32,
    margin: Float64,
) -> tuple[ModelSpec, Novelty]:
    calm = margin < Platt().margin(limit)
    if not calm.any():
        raise UnsupportedModelError(
            f"{path.name} calls none of the {len(windows)} windows healthy: explanations need a "
            "healthy one to compare with; give more windows, or check `classes` and `healthy`"
        )
    novelty = Novelty.fit(features[calm])
    baseline = baseline_window(windows, features, calm, novelty)
    if baseline is None:
        raise UnsupportedModelError(
            f"none of the {int(calm.sum())} healthy windows is complete (a reading in every cell): "
            "explanations need one to compare with"
        )
    spec = ModelSpec(
        name=request.name,
        channels=request.window_channels,
        period_s=request.period_s,
        length=request.length,
        stride=request.stride,
        horizon_h=request.horizon_h,
        threshold=limit,
        threshold_margin=Platt().margin(limit),
        features=(),
        modes=request.modes,
        lead_time_quantiles=(),
        baseline=baseline,
        min_fill=request.min_fill,
        thresholds=dict(request.thresholds),
        advice=request.playbook,
        provenance={
            "brought": path.name,
            "estimator": brought.estimator.kind,
            "code_version": version("foreshock"),
        },
    )
    return spec, novelty
