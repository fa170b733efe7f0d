from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from foreshock_converter.reference import GOLDEN
from foreshock_converter.sample import CHANNELS, tiny_model
from foreshock_wire.container import sealed
from foreshock_wire.errors import ChannelMismatchError, SelfTestError
from foreshock_wire.model import Model
from foreshock_wire.spec import Channel

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained


def test_the_same_training_is_the_same_file_and_another_seed_another() -> None:
    first, again, other = (tiny_model(seed=seed) for seed in (0, 0, 1))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    assert hashlib.sha256(first).digest() != hashlib.sha256(other).digest()


def test_the_spec_comes_back_whole(model: Model, trained: Trained) -> None:
    spec = model.spec
    assert (
        replace(
            spec,
            golden=None,
            reference={},
            baseline=trained.spec.baseline,
            explanation=trained.spec.explanation,
        )
        == trained.spec
    )
    np.testing.assert_array_equal(spec.baseline, trained.spec.baseline)


def test_golden_windows_travel_and_are_repeated(model: Model) -> None:
    golden = model.spec.golden
    assert golden is not None
    assert len(golden.windows) == len(GOLDEN)
    assert np.isnan(golden.windows).any()
    assert np.isinf(golden.windows).any()
    assert np.isnan(golden.margin).sum() == 1
    model.self_test()


def test_golden_windows_differ_and_keep_away_from_thresholds(model: Model) -> None:
    golden = model.spec.golden
    assert golden is not None
    untouched = golden.windows[: GOLDEN.count("untouched")]
    assert len(np.unique(untouched, axis=0)) == len(untouched)
    upwards = np.nextafter(golden.windows, np.float32(np.inf))
    shaken = np.where(np.isfinite(golden.windows), upwards, golden.windows)
    margin = model.run(shaken).margin
    np.testing.assert_allclose(margin, golden.margin, rtol=0, atol=1e-4)


def test_a_model_with_other_trees_does_not_pass_the_self_test(
    model_bytes: bytes,
) -> None:
    proto = onnx.load_from_string(model_bytes)
    trees = next(node for node in proto.graph.node if node.op_type == "TreeEnsemble")
    weights = next(a for a in trees.attribute if a.name == "leaf_weights").t
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.01))
    with pytest.raises(SelfTestError, match="golden margin"):
        Model.load(sealed(proto.SerializeToString())).self_test()


def test_there_is_one_ensemble(model_bytes: bytes) -> None:
    proto = onnx.load_from_string(model_bytes)
    onnx.checker.check_model(proto, full_check=True)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("TreeEnsemble") == 1
    assert {imported.domain for imported in proto.opset_import} <= {"", "ai.onnx.ml"}


def test_references_cover_the_features(model: Model, trained: Trained) -> None:
    assert set(model.spec.reference) <= set(model.spec.features)
    for histogram in model.spec.reference.values():
        assert list(histogram.edges) == sorted(set(histogram.edges))
        assert 0 < sum(histogram.counts) <= len(trained.windows)
    assert sum(model.spec.reference["vibration.rms"].counts) == len(trained.windows)


def test_windows_of_other_channels_are_refused(
    model: Model, unseen: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(ChannelMismatchError, match="vibration"):
        model.run(unseen[:, :, :4])


def test_other_channels_length_and_stride_can_be_asked_for() -> None:
    channels = (*CHANNELS[:2], Channel("speed", "rpm"))
    model = Model.load(tiny_model(channels, length=12, stride=3, period_s=60.0))
    assert model.spec.channel_ids == ("temperature", "pressure", "speed")
    assert (model.spec.length, model.spec.stride, model.spec.period_s) == (12, 3, 60.0)
    model.self_test()
