"""Power = torque x speed: computed in the graph, with features like a sensor's, and no player."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_converter.assemble import assemble
from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.features import FeatureGraph
from foreshock_converter.oracle import brute_force_shapley
from foreshock_converter.parity import parity
from foreshock_converter.sample import synthetic_windows, train
from foreshock_converter.stress import STRESSES, stressed
from foreshock_wire.derived import Derived, Operation, parse_derived
from foreshock_wire.errors import InvalidIdError, SpecError
from foreshock_wire.model import OUTPUTS, Model
from foreshock_wire.spec import Channel, ModelSpec, Role

if TYPE_CHECKING:
    import numpy.typing as npt

    from foreshock_converter.sample import Trained

    Float32 = npt.NDArray[np.float32]

CHANNELS = (
    Channel("cycles", "1", Role.CONTEXT),
    Channel("torque", "N.m"),
    Channel("speed", "rpm"),
    Channel("vibration", "mm/s"),
)
DERIVED = (
    parse_derived("power=torque*speed*0.00010472:kW"),
    parse_derived("torque_per_vibration=torque/vibration:N.m.s/mm"),
    parse_derived("gap=torque - speed:1"),
    parse_derived("wear=cycles*torque:N.m"),
    parse_derived("age_twice=cycles*cycles:1"),
)


def by_hand(windows: Float32) -> dict[str, Float32]:
    cycles, torque, speed, vibration = np.moveaxis(windows, 2, 0)
    return {
        "power": torque * speed * np.float32(0.00010472),
        "torque_per_vibration": torque / vibration,
        "gap": torque - speed,
        "wear": cycles * torque,
        "age_twice": cycles * cycles,
    }


LENGTH = 7


def test_a_derived_channel_has_the_features_of_its_product_as_a_sensor() -> None:
    graph = FeatureGraph(CHANNELS, LENGTH, 60.0, DERIVED)
    windows = stressed(synthetic_windows(20, 4, LENGTH, seed=1)[0])
    seen = dict(zip(graph.names, graph.extract(windows).T, strict=True))
    clean = np.where(np.isfinite(windows), windows, np.float32(np.nan))
    for one in DERIVED:
        with np.errstate(all="ignore"):
            cells = by_hand(clean)[one.id]
        alone = FeatureGraph((Channel(one.id, one.unit),), LENGTH, 60.0)
        want = dict(zip(alone.names, alone.extract(cells[:, :, None]).T, strict=True))
        assert {name for name in seen if name.startswith(f"{one.id}.")} == set(want)
        for name, values in want.items():
            np.testing.assert_array_equal(seen[name], values, name)


def test_names_and_units() -> None:
    graph = FeatureGraph(CHANNELS, LENGTH, 60.0, DERIVED)
    owners = list(dict.fromkeys(channel.id for channel, _ in graph.columns))
    assert owners == ["torque", "speed", "vibration", *(one.id for one in DERIVED), "cycles"]
    assert graph.units[graph.names.index("power.slope")] == "kW/h"


def test_a_missing_parent_is_a_missing_cell() -> None:
    graph = FeatureGraph(CHANNELS[1:], 4, 60.0, DERIVED[:2])
    window = np.full((1, 4, 3), 2.0, np.float32)
    window[0, 0, 0] = np.nan
    window[0, 1, 2] = np.inf  # no divisor that gives zero
    window[0, 2, 2] = 0
    missing = [graph.names.index(f"{one.id}.missing") for one in DERIVED[:2]]
    assert graph.extract(window)[0, missing].tolist() == [1, 3]


@pytest.fixture(scope="module")
def parts() -> Trained:
    return train(CHANNELS, length=LENGTH, rounds=30, depth=4, derived=DERIVED)


@pytest.fixture(scope="module")
def data(parts: Trained) -> bytes:
    return assemble(
        parts.spec, parts.heads, parts.calibration, parts.novelty, windows=parts.windows
    )


def test_trees_use_derived_channels(parts: Trained) -> None:
    used = parts.heads.fault.get_score(importance_type="weight")
    names = FeatureGraph.of(parts.spec).names
    owners = {names[int(key[1:])].rpartition(".")[0] for key in used}
    assert {"torque_per_vibration", "gap"} <= owners


def test_the_explanation_is_exact_for_the_sensors(data: bytes, parts: Trained) -> None:
    model = Model.load(data)
    rows = stressed(parts.windows[:8])[:-8]
    outputs = model.run(rows, explain=True)
    want = brute_force_shapley(model, parts.heads, rows)
    np.testing.assert_allclose(outputs.shapley, want, rtol=0, atol=1e-5)
    assert outputs.shapley.shape[1] == len(CHANNELS)
    assert not outputs.shapley[:, 0].any()
    healthy = np.broadcast_to(model.spec.baseline, rows.shape).copy()
    healthy[:, :, 0] = rows[:, :, 0]
    gap = outputs.margin - model.run(healthy).margin
    np.testing.assert_allclose(outputs.shapley.sum(axis=1), gap, rtol=0, atol=1e-5)


def test_what_only_derived_channels_hear_is_told_of_their_parents() -> None:
    only = (*(f"{one.id}.mean" for one in DERIVED), "vibration.mean")
    lean = train(CHANNELS, length=LENGTH, derived=DERIVED, choice=only, rounds=30)
    model = Model.load(
        assemble(lean.spec, lean.heads, lean.calibration, lean.novelty, windows=lean.windows)
    )
    rows = lean.windows[:20]
    outputs = model.run(rows, explain=True)
    want = brute_force_shapley(model, lean.heads, rows)
    np.testing.assert_allclose(outputs.shapley, want, rtol=0, atol=1e-5)
    torque = model.spec.channel_ids.index("torque")
    assert np.abs(outputs.shapley[:, torque]).max() > 0.1


def test_parity_holds(data: bytes, parts: Trained) -> None:
    assert parity(data, parts.heads, parts.calibration, parts.windows[:50]).ok


def test_one_window_equals_many(data: bytes, parts: Trained) -> None:
    model = Model.load(data)
    rows = stressed(parts.windows[:12])
    whole = model.run(rows, explain=True)
    alone = [model.run(rows[i : i + 1], explain=True) for i in range(len(rows))]
    for name in OUTPUTS:
        joined = np.concatenate([getattr(one, name) for one in alone])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name


def test_the_spec_tells_them_and_comes_back(data: bytes) -> None:
    spec = Model.load(data).spec
    assert spec.derived == DERIVED
    assert ModelSpec.from_json(spec.to_json()).derived == DERIVED
    assert "power.rms" in spec.features
    assert len(spec.channel_ids) == len(CHANNELS)


@given(
    first=st.sampled_from(["torque", "a-b", "x_1.y"]),
    second=st.sampled_from(["speed", "c-d"]),
    operation=st.sampled_from(Operation),
    factor=st.sampled_from([1.0, 0.001, 1e-5, 60.0]),
)
def test_what_is_written_is_read(
    first: str, second: str, operation: Operation, factor: float
) -> None:
    one = Derived("power", "kW", operation, (first, second), factor)
    assert parse_derived(f"power={one.formula}:kW") == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "power",
        "power=a",
        "power=a*b",
        "power=a*:kW",
        "power=a+b:kW",
        "power=a*b*c:kW",
        "power=a*b*0:kW",
        "power=a*b:",
    ],
)
def test_what_is_no_derived_channel_says_how_it_is_written(text: str) -> None:
    with pytest.raises(SpecError, match="derived channel"):
        parse_derived(text)


def test_its_name_must_be_an_id() -> None:
    with pytest.raises(InvalidIdError, match="derived channel"):
        parse_derived("Power kW=a*b:kW")


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ("power=torque*force:kW", "'force', which is none of"),
        ("torque=torque*speed:kW", "'torque' has the name of another channel"),
    ],
)
def test_a_derived_channel_that_does_not_fit_is_named(
    parts: Trained, derived: str, message: str
) -> None:
    one = parse_derived(derived)
    with pytest.raises(SpecError, match=message):
        replace(parts.spec, derived=(one,))
    with pytest.raises(UnsupportedModelError, match=message):
        FeatureGraph(CHANNELS, LENGTH, 60.0, (one,))


@pytest.mark.parametrize("stress", ["stuck", "all_missing", "one_reading", "lost_channel"])
def test_scores_follow_the_sensors_alone(data: bytes, parts: Trained, stress: str) -> None:
    """A context channel's reading makes no score, nor does a derived channel hide one."""
    model = Model.load(data)
    rows = STRESSES[stress](parts.windows[:8])
    rows[:, :, 0] = 3
    measured = np.isfinite(rows[:, :, 1:]).any(axis=(1, 2))
    np.testing.assert_array_equal(np.isfinite(model.run(rows).margin), measured)
