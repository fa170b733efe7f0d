from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.features import FeatureGraph
from foreshock_converter.sample import synthetic_windows, tiny_model
from foreshock_converter.stress import stressed
from foreshock_wire.model import OUTPUTS, Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("together", [1, 3, 64])
def test_every_output_has_the_same_bits(
    model: Model, unseen: npt.NDArray[np.float32], together: int, *, explain: bool
) -> None:
    rows = stressed(unseen[:20])
    whole = model.run(rows, explain=explain)
    parts = [
        model.run(rows[start : start + together], explain=explain)
        for start in range(0, len(rows), together)
    ]
    for name in OUTPUTS:
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name


@pytest.mark.parametrize("length", [1, 5, 47, 50])
def test_lengths_that_are_no_multiple_of_four_too(length: int) -> None:
    model = Model.load(tiny_model(length=length))
    rows = synthetic_windows(64, 5, length, seed=5)[0]
    whole = model.run(rows, explain=True)
    alone = [model.run(rows[i : i + 1], explain=True) for i in range(len(rows))]
    for name in OUTPUTS:
        joined = np.concatenate([getattr(one, name) for one in alone])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name


def test_training_features_are_the_models_features(
    trained: Trained, model: Model, unseen: npt.NDArray[np.float32]
) -> None:
    rows = np.concatenate([unseen, stressed(unseen)])
    spec = trained.spec
    graph = FeatureGraph.of(spec)
    emitted = model.run(rows).features
    assert graph.extract(rows, threads=1).tobytes() == emitted.tobytes()
    assert graph.extract(rows, threads=2).tobytes() == emitted.tobytes()
    assert model.spec.features == graph.names
