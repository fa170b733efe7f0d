"""A second oracle: the trees as onnxmltools converts them say what the model file says.

It is right for a binary head and wrong for a softmax of two classes, which it takes for a binary
one; `test_doors_refuse_wrong_models` pins where else it is wrong. Features are the graph's own, on
windows of every kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xgboost as xgb

from benchmarks.converter_peers import converted
from foreshock_converter.parity import PROOF_WINDOWS
from foreshock_converter.stress import generated, stressed

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained
    from foreshock_wire.model import Model, Outputs


@pytest.fixture(scope="module")
def seen(model: Model) -> Outputs:
    windows = generated(model.spec, PROOF_WINDOWS)
    return model.run(np.concatenate([windows, stressed(windows[:128])]))


def probabilities(session_outputs: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return session_outputs[1]


def test_the_fault_head_decides_alike(model: Model, trained: Trained, seen: Outputs) -> None:
    scored = ~np.isnan(seen.margin)
    theirs = probabilities(converted(trained.heads.fault).run(None, {"x": seen.features[scored]}))
    raw = 1 / (1 + np.exp(-seen.margin[scored].astype(np.float64)))
    assert np.count_nonzero(scored) > PROOF_WINDOWS
    assert np.abs(theirs[:, 1] - raw).max() < 1e-5
    limit = 1 / (1 + np.exp(-model.spec.threshold_margin))
    assert np.array_equal(theirs[:, 1] >= limit, seen.margin[scored] >= model.spec.threshold_margin)


def test_a_softmax_of_two_classes_is_ours_and_xgboosts_not_theirs(
    trained: Trained, seen: Outputs
) -> None:
    modes = trained.heads.modes
    assert modes is not None
    scored = ~np.isnan(seen.margin)
    features = seen.features[scored]
    xgboosts = modes.predict(xgb.DMatrix(features, nthread=1))
    assert np.abs(xgboosts - seen.modes[scored]).max() < 1e-5
    theirs = probabilities(converted(modes).run(None, {"x": features}))
    assert np.abs(theirs - xgboosts).max() > 0.5
