"""The graph's sensor Shapley values against the `shap` package, which shares no code with us."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foreshock_converter.assemble import assemble
from foreshock_converter.features import FeatureGraph
from foreshock_converter.sample import CHANNELS, synthetic_windows, train
from foreshock_wire.derived import parse_derived
from foreshock_wire.model import Model

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]
    Float64 = npt.NDArray[np.float64]

DERIVED = (parse_derived("power=torque*vibration:1"), parse_derived("ratio=torque/pressure:1"))


@pytest.fixture(scope="module")
def shap() -> Any:  # noqa: ANN401 - a module without types
    with warnings.catch_warnings():
        # It sets up matplotlib's colours on import in a way that matplotlib is about to retire.
        warnings.simplefilter("ignore")
        import shap  # noqa: PLC0415
    return shap


def made(parts: Trained) -> Model:
    return Model.load(
        assemble(parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows)
    )


def complete_windows(count: int, length: int) -> Float32:
    windows = synthetic_windows(400, 5, length, seed=9)[0]
    known: Float32 = windows[np.isfinite(windows).all(axis=(1, 2))][:count]
    assert len(known) == count
    return known


@pytest.mark.parametrize("derived", [(), DERIVED], ids=["measured", "derived"])
def test_the_exact_explainer_with_sensors_as_players(shap: Any, derived: tuple[Any, ...]) -> None:  # noqa: ANN401
    model = made(train(CHANNELS, length=12, rounds=30, depth=4, derived=derived))
    windows = synthetic_windows(6, 5, 12, seed=9)[0]
    wanted = []
    for window in windows:

        def worth(present: Float64, window: Float32 = window) -> Float64:
            own = present[:, None, :].astype(bool)
            mixed = np.where(own, window, model.spec.baseline)
            return model.run(mixed).margin.astype(np.float64)

        masker = shap.maskers.Independent(np.zeros((1, 5)))
        wanted.append(shap.explainers.Exact(worth, masker)(np.ones((1, 5))).values[0])
    seen = model.run(windows, explain=True).shapley
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-5)
    assert np.abs(seen).max() > 0.1


def tree_shap(shap: Any, parts: Trained, windows: Float32) -> Float64:  # noqa: ANN401
    """Interventional TreeSHAP of the features, with the baseline as the only background."""
    graph = FeatureGraph.of(parts.spec)
    explainer = shap.TreeExplainer(
        parts.heads.fault,
        data=graph.extract(parts.spec.baseline[None]),
        feature_perturbation="interventional",
    )
    values: Float64 = explainer.shap_values(graph.extract(windows), check_additivity=False)
    return values


def test_tree_shap_of_a_model_with_one_feature_per_channel(shap: Any) -> None:  # noqa: ANN401
    parts = train(CHANNELS, length=4, rounds=30, depth=4, choice=("mean",))
    windows = complete_windows(20, 4)
    seen = made(parts).run(windows, explain=True).shapley
    np.testing.assert_allclose(seen, tree_shap(shap, parts, windows), rtol=0, atol=1e-5)
    assert np.abs(seen).max() > 0.1


def test_summed_tree_shap_values_are_not_the_sensors_values(shap: Any) -> None:  # noqa: ANN401
    """Features of one sensor come and go together; adding up what each alone would do differs."""
    parts = train(CHANNELS, length=4, rounds=60, depth=5)
    windows = complete_windows(20, 4)
    summed = tree_shap(shap, parts, windows).reshape(len(windows), 5, -1).sum(axis=2)
    seen = made(parts).run(windows, explain=True).shapley
    np.testing.assert_allclose(seen.sum(axis=1), summed.sum(axis=1), rtol=0, atol=1e-4)
    assert np.abs(seen - summed).max() > 0.05
