"""Every message ever released parses to the same value and is written to the same bytes."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import pytest

from foreshock_wire.batch import decode
from foreshock_wire.messages import Message
from foreshock_wire.spec import ModelSpec
from tests.wire.make_golden import FOLDER, encoded, write_missing
from tests.wire.samples import BATCHES, MESSAGES, SPEC, same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVELOPE_BYTES = 13
"""Magic, CRC, kind and length: what stands before the compressed body of a batch."""


def golden(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", MESSAGES)
def test_message_parses_to_the_same_value(name: str) -> None:
    sample = MESSAGES[name]
    assert type(sample).from_bytes(golden(f"{name}.json")) == sample


@pytest.mark.parametrize("name", MESSAGES)
def test_message_is_written_to_the_same_bytes(name: str) -> None:
    released = golden(f"{name}.json")
    parsed = type(MESSAGES[name]).from_bytes(released)
    # What a later version adds to the type is not in a released message, and not in this.
    assert parsed.model_dump_json(exclude_unset=True).encode() == released
    assert adds_only(json.loads(parsed.to_bytes()), json.loads(released))


@pytest.mark.parametrize("name", BATCHES)
def test_batch_parses_to_the_same_value(name: str) -> None:
    sample = BATCHES[name]
    assert same(decode(golden(f"{name}.fsb"), type(sample)), sample)


@pytest.mark.parametrize("name", BATCHES)
def test_batch_is_written_to_the_same_body(name: str) -> None:
    released, written = golden(f"{name}.fsb"), BATCHES[name].to_bytes()
    # Builds of zlib may compress the same body to other bytes, so the CRC may differ too.
    assert written[:4] == released[:4]
    assert written[8:ENVELOPE_BYTES] == released[8:ENVELOPE_BYTES]
    assert zlib.decompress(written[ENVELOPE_BYTES:]) == zlib.decompress(released[ENVELOPE_BYTES:])


def test_spec_parses_and_is_written_to_the_same_bytes() -> None:
    released = golden("model_spec.json").decode()
    assert same(ModelSpec.from_json(released), SPEC)
    assert ModelSpec.from_json(released).to_json() == released


def test_every_message_type_has_a_golden() -> None:
    covered = {type(sample) for sample in MESSAGES.values()}
    assert set(_subclasses(Message)) == covered


def test_no_golden_is_forgotten() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(encoded())


def test_making_goldens_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "gap.json").write_bytes(b"released")
    assert write_missing({"gap.json": b"other", "new.json": b"{}"}, tmp_path) == ["new.json"]
    assert (tmp_path / "gap.json").read_bytes() == b"released"
    assert (tmp_path / "new.json").read_bytes() == b"{}"


def adds_only(written: object, released: object) -> bool:
    """Whether `written` is `released` with nothing but new fields, at any depth."""
    if isinstance(written, dict) and isinstance(released, dict):
        return all(key in written and adds_only(written[key], released[key]) for key in released)
    if isinstance(written, list) and isinstance(released, list):
        return len(written) == len(released) and all(map(adds_only, written, released))
    return written == released


def _subclasses(kind: type[Message]) -> Iterator[type[Message]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("foreshock_wire."):
            yield child
            yield from _subclasses(child)
