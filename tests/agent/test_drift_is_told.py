"""How far an agent's windows are from those that its model was trained on goes to the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foreshock_agent.judging.scoring import Due
from foreshock_rules.windows import Window
from foreshock_wire.model import Model
from foreshock_wire.updates import Report
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench

if TYPE_CHECKING:
    from pathlib import Path


def test_drift_is_told_of_the_model_in_use_and_begins_anew_with_another(
    tmp_path: Path, model_bytes: bytes, other_model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    assert bench.scorer.drift() == {}
    random = np.random.default_rng(1)
    shape = (model.spec.length, len(model.spec.channels))
    for number in range(400):
        values = random.normal(1000, 1, shape).astype(np.float32)
        window = Window(BEGIN_NS + number * MINUTE_NS, values)
        bench.scorer.score([Due("pump-1", window, 0)])
    told = bench.scorer.drift()
    assert max(told.values()) > 1
    assert set(told) <= set(model.spec.features)
    assert Report.from_bytes(Report(gateway="gw-1", drift=told).to_bytes()).drift == told
    bench.scorer.model = Model.load(other_model_bytes)
    assert bench.scorer.drift() == {}
    bench.close()
