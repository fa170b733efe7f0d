"""The model's spec: what is written is read, and damage of any kind is a SpecError."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foreshock_wire.errors import SpecError, SpecTooNewError
from foreshock_wire.spec import Advice, Channel, Explanation, Golden, ModelSpec, Role
from tests.wire.samples import SPEC, same

if TYPE_CHECKING:
    import numpy.typing as npt

TEXT = SPEC.to_json()
PLAIN: dict[str, Any] = json.loads(TEXT)
NONSENSE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.integers() | st.text(max_size=3), max_size=4)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=3), max_size=3)
)


def zeros(windows: tuple[int, ...], margin: int, shapley: tuple[int, ...]) -> Golden:
    return Golden(*(np.zeros(shape, np.float32) for shape in (windows, margin, shapley)))


def edited(**fields: object) -> str:
    return json.dumps(PLAIN | fields)


@given(data=st.data(), windows=st.integers(0, 3), length=st.integers(1, 4))
def test_a_spec_round_trips_bit_for_bit(data: st.DataObject, windows: int, length: int) -> None:
    def floats(*shape: int) -> npt.NDArray[np.float32]:
        return data.draw(hnp.arrays(np.dtype("<f4"), shape))

    spec = replace(
        SPEC,
        length=length,
        baseline=floats(length, 4),
        name=data.draw(st.text()),
        golden=Golden(floats(windows, length, 4), floats(windows), floats(windows, 4)),
        provenance=data.draw(st.dictionaries(st.text(), st.text(), max_size=3)),
        threshold=data.draw(st.floats(0, 1, exclude_min=True, exclude_max=True)),
    )
    assert same(ModelSpec.from_json(spec.to_json()), spec)


def test_how_it_explains_is_told_when_it_is_not_as_in_the_first_release() -> None:
    assert "explanation" not in PLAIN
    sampled = replace(SPEC, explanation=Explanation(rows=2434, permutations=128))
    assert ModelSpec.from_json(sampled.to_json()).explanation == sampled.explanation


def test_a_field_of_a_newer_writer_of_this_version_is_ignored() -> None:
    assert same(ModelSpec.from_json(edited(written_by="tomorrow")), SPEC)


def test_a_newer_spec_version_says_what_to_do() -> None:
    with pytest.raises(SpecTooNewError, match="update foreshock on this machine"):
        ModelSpec.from_json(edited(spec_version=2, length={"new": "shape"}))


@pytest.mark.parametrize("field", sorted(set(PLAIN) - {"spec_version"}))
@given(value=NONSENSE)
def test_any_field_with_any_value_is_read_or_a_spec_error(field: str, value: object) -> None:
    try:
        spec = ModelSpec.from_json(edited(**{field: value}))
    except SpecError:
        return
    assert ModelSpec.from_json(spec.to_json()).to_json() == spec.to_json()


@given(at=st.integers(0, len(TEXT) - 1))
def test_a_truncated_spec_is_refused(at: int) -> None:
    with pytest.raises(SpecError):
        ModelSpec.from_json(TEXT[:at])


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"x"', "5", "{}", "[" * 100_000, edited(spec_version=None)]
    + [edited().replace('"spec_version": 1', f'"spec_version": {v}') for v in ("1e999", "NaN")],
    ids=lambda text: text[-30:],
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        ModelSpec.from_json(text)


@pytest.mark.parametrize("field", ["channels", "baseline", "features", "name", "threshold"])
def test_a_missing_or_empty_field_is_refused(field: str) -> None:
    without = {key: value for key, value in PLAIN.items() if key != field}
    for plain in (without, PLAIN | {field: {}}):
        with pytest.raises(SpecError):
            ModelSpec.from_json(json.dumps(plain))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"channels": ()}, "channels are missing"),
        ({"channels": (Channel("a", ""),) * 4}, "named twice"),
        ({"channels": tuple(Channel(c, "") for c in ("a", "b", "c", "D"))}, "channel 'D'"),
        ({"baseline": np.zeros((4, 3), np.float32)}, r"\(4, 3\), windows have \(3, 4\)"),
        ({"length": 0}, "length 0"),
        ({"stride": 1.5}, "stride 1.5"),
        ({"period_s": float("inf")}, "period_s inf"),
        ({"horizon_h": float("nan")}, "horizon_h nan"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"thresholds": {"press": 0.0}}, "between 0 and 1"),
        ({"threshold_margin": float("nan")}, "threshold_margin nan"),
        ({"lead_time_quantiles": (0.9, 0.1)}, "must ascend"),
        ({"min_fill": 0.0}, "min_fill 0.0"),
        ({"explanation": Explanation(rows=0)}, "by 0 rows"),
        ({"explanation": Explanation(32, permutations=-2)}, "-2 permutations"),
        ({"golden": zeros((2, 3, 5), 2, (2, 5))}, "golden windows"),
        ({"golden": zeros((2, 3, 4), 3, (2, 4))}, "golden outputs"),
    ],
)
def test_a_spec_that_contradicts_itself_cannot_be_made(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError, match=named):
        replace(SPEC, **fields)


def test_derived_properties() -> None:
    assert SPEC.period_ns == 1_800_000_000_000
    assert SPEC.channel_ids == ("torque", "speed", "motor_power", "cycles")
    assert [channel.role for channel in SPEC.channels][-2:] == [Role.DERIVED, Role.CONTEXT]


def test_advice_is_found_by_mode() -> None:
    spec = replace(SPEC, advice=(Advice("a", "do a"), Advice("b", "do b")))
    assert [spec.advice_for(mode) for mode in ("a", "b", "c", None)] == ["do a", "do b", "", ""]
