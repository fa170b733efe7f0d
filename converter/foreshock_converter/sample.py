"""A small model that is really trained, for tests and trials: no plant, no lake, one second.

`python -m foreshock_converter.sample model.onnx` writes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click
import numpy as np
import xgboost as xgb

from foreshock_converter.assemble import assemble
from foreshock_converter.calibration import Platt
from foreshock_converter.features import DEFAULT_CHOICE, FeatureGraph
from foreshock_converter.heads import Heads, Novelty
from foreshock_converter.trees import snap_thresholds
from foreshock_wire.options import FILE
from foreshock_wire.spec import Advice, Channel, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_converter.calibration import Calibration
    from foreshock_wire.derived import Derived

    Float32 = npt.NDArray[np.float32]

CHANNELS: Final = (
    Channel("temperature", "degC"),
    Channel("pressure", "bar"),
    Channel("vibration", "mm/s"),
    Channel("torque", "N.m"),
    Channel("motor_power", "kW"),
)
MODES: Final = ("bearing", "winding")
QUANTILES: Final = (0.1, 0.5, 0.9)
HORIZON_H: Final = 48.0
WINDOWS: Final = 400


@dataclass(frozen=True, slots=True)
class Trained:
    """Everything that `assemble` takes, and the windows float32[N, T, C] it was trained on."""

    spec: ModelSpec
    heads: Heads
    calibration: Calibration
    novelty: Novelty
    windows: Float32


def tiny_model(
    channels: Sequence[Channel] = CHANNELS,
    *,
    length: int = 48,
    stride: int = 4,
    period_s: float = 1800.0,
    seed: int = 0,
) -> bytes:
    """Return a model file trained on synthetic windows; another seed is another file."""
    parts = train(channels, length=length, stride=stride, period_s=period_s, seed=seed)
    return assemble(
        parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
    )


def synthetic_windows(
    count: int, channels: int, length: int, *, seed: int = 0
) -> tuple[Float32, Float32, npt.NDArray[np.int64]]:
    """Return windows float32[N, T, C], hours to failure float32[N] and failure mode int[N].

    Mode k lifts channel k and makes channel k + 2 noisier, more so the nearer the failure; a tenth
    of the cells is missing.
    """
    rng = np.random.default_rng(seed)
    hours = rng.uniform(0, 4 * HORIZON_H, count).astype(np.float32)
    mode = rng.integers(0, len(MODES), count)
    damage = np.exp(-hours / HORIZON_H)[:, None, None]
    columns = np.arange(channels)
    lifted = damage * (columns == mode[:, None, None] % channels)
    shaken = damage * (columns == (mode[:, None, None] + 2) % channels)
    noise = rng.normal(size=(count, length, channels))
    level = 50 + 10 * columns
    windows = level + noise * (1 + 2 * shaken) + 2 * lifted + rng.normal(size=(count, 1, channels))
    windows[rng.random(windows.shape) < 0.1] = np.nan  # noqa: PLR2004 - a tenth
    return windows.astype(np.float32), hours, mode


def train(
    channels: Sequence[Channel] = CHANNELS,
    *,
    length: int = 48,
    stride: int = 4,
    period_s: float = 1800.0,
    seed: int = 0,
    rounds: int = 12,
    depth: int = 3,
    derived: Sequence[Derived] = (),
    choice: Sequence[str] = DEFAULT_CHOICE,
    count: int = WINDOWS,
) -> Trained:
    """Train all heads on `count` synthetic windows, with the features that `choice` names."""
    windows, hours, mode = synthetic_windows(count, len(channels), length, seed=seed)
    graph = FeatureGraph(tuple(channels), length, period_s, tuple(derived), tuple(choice))
    features = graph.extract(windows)
    common = {"max_depth": depth, "seed": seed, "nthread": 1}
    failing = hours < HORIZON_H

    def fit(rows: npt.NDArray[np.bool_], label: Float32, **params: object) -> xgb.Booster:
        data = xgb.DMatrix(features[rows], label[rows], nthread=1)
        return snap_thresholds(xgb.train(common | params, data, rounds), features[rows])

    everywhere = np.ones(len(hours), bool)
    calibration = Platt(1.1, -0.1)
    return Trained(
        spec=_spec(graph, calibration, windows[~failing], stride=stride, seed=seed),
        heads=Heads(
            fault=fit(everywhere, failing.astype(np.float32), objective="binary:logistic"),
            modes=fit(
                failing, mode.astype(np.float32), objective="multi:softprob", num_class=len(MODES)
            ),
            lead_time=fit(
                failing, hours, objective="reg:quantileerror", quantile_alpha=np.array(QUANTILES)
            ),
            lead_time_shift=(-0.5, 0.0, 0.5),
        ),
        calibration=calibration,
        novelty=Novelty.fit(features[~failing]),
        windows=windows,
    )


def _spec(
    graph: FeatureGraph, calibration: Platt, healthy: Float32, *, stride: int, seed: int
) -> ModelSpec:
    margin = calibration.margin(0.5)
    return ModelSpec(
        name="sample",
        channels=graph.channels,
        derived=graph.derived,
        period_s=graph.period_s,
        length=graph.length,
        stride=stride,
        horizon_h=HORIZON_H,
        threshold=0.5,
        threshold_margin=margin,
        features=graph.names,
        modes=MODES,
        lead_time_quantiles=QUANTILES,
        baseline=healthy[int(np.argmin(np.isnan(healthy).sum(axis=(1, 2))))],
        advice=(
            Advice("bearing", "Check the bearing's lubrication and replace it at the next stop."),
            Advice("winding", "Measure the winding's insulation resistance."),
        ),
        provenance={"data": "synthetic", "seed": str(seed)},
    )


@click.command()
@click.argument("out", type=FILE)
@click.option("--seed", default=0, show_default=True, help="Another seed is another model.")
def main(out: Path, seed: int) -> None:
    """Write a small trained model to OUT."""
    out.write_bytes(tiny_model(seed=seed))
    click.echo(f"wrote {out} ({out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
