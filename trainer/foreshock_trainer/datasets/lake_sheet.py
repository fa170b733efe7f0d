"""The lake's labelled windows as rows: the features that a training would learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foreshock_trainer.datasets.base import Part, Sheet
from foreshock_trainer.evaluate import NS_PER_HOUR

if TYPE_CHECKING:
    from foreshock_trainer.gathered import Gathered


def sheet_of(gathered: Gathered, horizon_h: float) -> Sheet:
    """Return one row per window with a known outcome; machines stand in one part each."""
    examples, split = gathered.examples, gathered.split
    part = np.full(len(examples), Part.NONE, dtype="<U10")
    for name, group in (
        (Part.TRAIN, split.train),
        (Part.VALIDATION, split.validation),
        (Part.TEST, split.test),
    ):
        part[gathered.of(group)] = name
    modes = np.array([*examples.modes, ""])
    return Sheet(
        columns={
            "machine": np.array(examples.machines)[examples.machine],
            "window_end_ns": examples.end_ns,
            **{name: gathered.features[:, i] for i, name in enumerate(gathered.names)},
            "fails_within_horizon": examples.label,
            "lead_time_h": examples.lead_time_h,
            "mode": modes[examples.mode],
        },
        part=part,
        answers=("fails_within_horizon", "lead_time_h", "mode"),
        group="machine",
        time="window_end_ns",
        rule="permanent test machines, and validation machines, by hashes of their ids",
        embargo="none between machines; two models over time need window + horizon, "
        f"{gathered.window_ns / NS_PER_HOUR:g} + {horizon_h:g} h",
        by_group=True,
    )


def about_lake(gathered: Gathered, root: str, horizon_h: float, seed: int) -> dict[str, Any]:
    """Return what a manifest says of windows of a lake."""
    return {
        "data_set": "lake",
        "origin": root,
        "seed": seed,
        "horizon_h": horizon_h,
        "sources": dict(gathered.provenance),
        "windows": gathered.counts(),
    }
