"""A file that must not run: each kind has its own error, before any runtime sees the bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_wire.container import OPSETS, SEAL_KEY, Container, sealed
from foreshock_wire.errors import (
    ChannelMismatchError,
    DamagedModelError,
    ModelError,
    NotAModelError,
    SpecError,
    SpecTooNewError,
    TruncatedModelError,
    UnknownOpsetError,
)
from foreshock_wire.model import Model
from foreshock_wire.spec import METADATA_KEY
from tests.converter.effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def edited(model: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    """Change a file as an expert would: with a new digest."""
    proto = onnx.load_from_string(model)
    change(proto)
    return sealed(proto.SerializeToString())


def with_spec(model: bytes, text: str) -> bytes:
    def change(proto: onnx.ModelProto) -> None:
        next(p for p in proto.metadata_props if p.key == METADATA_KEY).value = text

    return edited(model, change)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(model_bytes: bytes, share: float) -> None:
    with pytest.raises(TruncatedModelError, match=r"cut off.*fetch it again"):
        Model.load(model_bytes[: int(share * len(model_bytes))])


@settings(max_examples=examples(200))
@given(data=st.data())
def test_cut_anywhere_it_is_refused(model_bytes: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(model_bytes) - 1))
    with pytest.raises((NotAModelError, DamagedModelError)):
        Model.load(model_bytes[:at])


@settings(max_examples=examples(300))
@given(data=st.data(), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(model_bytes: bytes, data: st.DataObject, bit: int) -> None:
    at = data.draw(st.integers(0, len(model_bytes) - 1) | st.integers(0, 30))
    flipped = bytearray(model_bytes)
    flipped[at] ^= 1 << bit
    with pytest.raises((DamagedModelError, NotAModelError)):
        Model.load(bytes(flipped))


def test_every_bit_of_the_digest_counts(model_bytes: bytes) -> None:
    seal = model_bytes.index(SEAL_KEY.encode())
    for at in range(seal - 4, len(model_bytes)):
        flipped = bytearray(model_bytes)
        flipped[at] ^= 1
        with pytest.raises((DamagedModelError, TruncatedModelError)):
            Model.load(bytes(flipped))


def test_bytes_behind_the_end(model_bytes: bytes) -> None:
    with pytest.raises(ModelError):
        Model.load(model_bytes + b"\x08\x09")


def test_a_file_that_was_edited_by_hand(model_bytes: bytes) -> None:
    proto = onnx.load_from_string(model_bytes)
    proto.graph.node[-1].name = "mine"
    with pytest.raises(DamagedModelError, match=r"damaged or was edited.*convert it again"):
        Model.load(proto.SerializeToString())


def test_a_file_without_a_digest(model_bytes: bytes) -> None:
    proto = onnx.load_from_string(model_bytes)
    del proto.metadata_props[-1]
    with pytest.raises(DamagedModelError, match=f"has no {SEAL_KEY}"):
        Model.load(proto.SerializeToString())


@pytest.mark.parametrize("data", [b"", b"not onnx", b"PK\x03\x04" * 99, b"\xff" * 99, b"\x0a\x00"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(NotAModelError, match="not a model file"):
        Model.load(data)


def test_onnx_of_somebody_else(model_bytes: bytes) -> None:
    proto = onnx.load_from_string(model_bytes)
    del proto.metadata_props[:]
    with pytest.raises(NotAModelError, match="convert it with foreshock"):
        Model.load(proto.SerializeToString())


def test_a_spec_from_a_newer_version(model: Model, model_bytes: bytes) -> None:
    newer = json.loads(model.spec.to_json()) | {"spec_version": 99}
    with pytest.raises(SpecTooNewError, match=r"version 99.*update foreshock"):
        Model.load(with_spec(model_bytes, json.dumps(newer)))


@pytest.mark.parametrize(("domain", "version"), [("", 99), ("ai.onnx.ml", 6), ("com.acme", 1)])
def test_an_unknown_opset(model_bytes: bytes, domain: str, version: int) -> None:
    def change(proto: onnx.ModelProto) -> None:
        del proto.opset_import[:]
        proto.opset_import.append(onnx.helper.make_opsetid(domain, version))

    named = f"operator set {domain or 'ai.onnx'} {version}.*update foreshock"
    with pytest.raises(UnknownOpsetError, match=named):
        Model.load(edited(model_bytes, change))


def test_the_opsets_are_those_that_the_converter_writes(model_bytes: bytes) -> None:
    assert Container(model_bytes).opsets == OPSETS


def test_a_spec_of_other_channels_is_not_the_graphs(model: Model, model_bytes: bytes) -> None:
    spec = model.spec
    fewer = replace(spec, channels=spec.channels[:4], baseline=spec.baseline[:, :4], golden=None)
    with pytest.raises(SpecError, match="window is not the spec's"):
        Model.load(with_spec(model_bytes, fewer.to_json()))


def test_a_model_for_other_channels(model_bytes: bytes) -> None:
    with pytest.raises(
        ChannelMismatchError, match=r"reads motor_power.*they give torque, pressure"
    ):
        Model.load(model_bytes, available=["torque", "pressure", "vibration", "temperature", "lid"])
    Model.load(model_bytes, available=[*Model.load(model_bytes).spec.channel_ids, "lid"])


def test_a_graph_that_the_runtime_refuses_is_no_model(model_bytes: bytes) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].op_type = "Imagined"

    with pytest.raises(NotAModelError, match="this runtime can load"):
        Model.load(edited(model_bytes, change))


def test_sealing_twice_is_sealing_once(model_bytes: bytes) -> None:
    assert sealed(model_bytes) == model_bytes


def test_what_is_wrong_is_said_before_the_runtime_is_even_imported(
    model_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes[:-100] + b"\x00" + model_bytes[-99:])
    code = (
        "import sys; from pathlib import Path; from foreshock_wire.model import Model\n"
        "from foreshock_wire.errors import ModelError\n"
        "try:\n    Model.load(Path(sys.argv[1]))\n"
        "except ModelError as error:\n    print(type(error).__name__, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "DamagedModelError False\n"
