"""The spec of a model to be: what the file will say of itself, from what training found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_converter.reference import baseline_window
from foreshock_trainer.fit import QUANTILES, FitError
from foreshock_trainer.playbook import advice_for
from foreshock_wire.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from foreshock_converter.features import FeatureGraph
    from foreshock_converter.heads import Novelty
    from foreshock_rules.windows import WindowSpec
    from foreshock_trainer.fit import Fitted

    Bool = npt.NDArray[np.bool_]
    Float32 = npt.NDArray[np.float32]


def blueprint(
    name: str,
    *,
    graph: FeatureGraph,
    cut: WindowSpec,
    horizon_h: float,
    fitted: Fitted,
    baseline: Float32,
    provenance: Mapping[str, str],
) -> ModelSpec:
    """Return the spec; the converter adds golden windows and reference histograms."""
    return ModelSpec(
        name=name,
        channels=graph.channels,
        derived=graph.derived,
        period_s=cut.period_ns / 1e9,
        length=cut.length,
        stride=cut.stride,
        horizon_h=horizon_h,
        threshold=float(fitted.calibration.probability(fitted.threshold_margin)),
        threshold_margin=fitted.threshold_margin,
        features=graph.names,
        modes=fitted.modes,
        lead_time_quantiles=QUANTILES,
        baseline=baseline,
        min_fill=cut.min_fill,
        advice=advice_for(fitted.modes),
        provenance=provenance,
    )


def healthy_baseline(
    windows: Float32, features: Float32, healthy: Bool, novelty: Novelty
) -> Float32:
    """Return the healthy window float32[T, C] that explanations compare with.

    Raises:
        FitError: no healthy window is complete.
    """
    baseline = baseline_window(windows, features, healthy, novelty)
    if baseline is None:
        raise FitError(
            "no healthy training window is complete (a reading in every cell): explanations need "
            "one to compare with; check the sampling period and the channels"
        )
    return baseline
