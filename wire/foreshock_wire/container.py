"""The shell of a model file, read without running anything: what is inside, and is it whole?

A model file is one protobuf message (`onnx.ModelProto`). This reads its top level alone, so that a
device can name what is wrong before a runtime sees the bytes. The last entry of the metadata is the
SHA-256 of every other byte: it finds accidents (a cut, a flipped bit, an edit by hand). It does not
protect against someone who edits a file and seals it again; that is what a signature is for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from foreshock_wire.errors import (
    DamagedModelError,
    NotAModelError,
    TruncatedModelError,
    UnknownOpsetError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SEAL_KEY: Final = "foreshock.sha256"
"""The metadata property that holds the digest of the rest of the file."""
OPSETS: Final[Mapping[str, int]] = {"": 21, "ai.onnx.ml": 5}
"""The newest version of each operator set that this runtime is proven with."""

# onnx.proto: ModelProto's fields.
_GRAPH, _OPSET_IMPORT, _METADATA = 7, 8, 14
_FIRST_TAG: Final = b"\x08"
"""Field 1, a number: `ir_version`."""
# The wire types of protobuf; groups (3 and 4) are not in ONNX.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message: `start` and `end` are its bytes, tag included; `value` its content."""

    number: int
    value: int | memoryview
    start: int
    end: int


@dataclass(frozen=True)
class Container:
    """The top level of a model file's bytes.

    Raises:
        NotAModelError: the bytes are no ONNX file.
        TruncatedModelError: they begin like one and end too early.
    """

    data: bytes

    def __post_init__(self) -> None:
        if not self.data.startswith(_FIRST_TAG):
            raise NotAModelError("not a model file: the bytes do not begin like an ONNX file")
        if not any(field.number == _GRAPH for field in self._fields):
            raise TruncatedModelError("the model file is cut off: it has no graph; fetch it again")

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's properties."""
        return dict(_entry(field.value) for field in self._fields if field.number == _METADATA)

    @cached_property
    def opsets(self) -> dict[str, int]:
        """Operator set by domain -> version."""
        return dict(_opset(field.value) for field in self._fields if field.number == _OPSET_IMPORT)

    def check_seal(self) -> None:
        """Raise unless every byte is as the converter wrote it.

        Raises:
            DamagedModelError: it is not, or the file was never sealed.
        """
        sealed = self.metadata.get(SEAL_KEY)
        if sealed is None:
            raise DamagedModelError(
                f"the model file has no {SEAL_KEY}: it is cut off, or it was edited after the "
                "converter wrote it; fetch it again, or convert it again"
            )
        if sealed != _digest(self.data, self._fields):
            raise DamagedModelError(
                "the model file is damaged or was edited: its bytes are not those that the "
                "converter wrote; fetch it again, or convert it again"
            )

    def check_opsets(self) -> None:
        """Raise unless this runtime knows every operator set that the graph uses.

        Raises:
            UnknownOpsetError: names it.
        """
        for domain, version in self.opsets.items():
            newest = OPSETS.get(domain)
            if newest is None or not 1 <= version <= newest:
                known = ", ".join(f"{d or 'ai.onnx'} to {v}" for d, v in OPSETS.items())
                raise UnknownOpsetError(
                    f"the model file needs the operator set {domain or 'ai.onnx'} {version}, this "
                    f"runtime knows {known}: update foreshock on this machine first"
                )

    @cached_property
    def _fields(self) -> tuple[_Field, ...]:
        return tuple(_fields(memoryview(self.data)))


def sealed(data: bytes) -> bytes:
    """Return a model file with the digest of its bytes as the last property.

    Raises:
        NotAModelError: the bytes are no ONNX file.
    """
    unsealed = b"".join(
        data[field.start : field.end] for field in Container(data)._fields if not _is_seal(field)
    )
    digest = hashlib.sha256(unsealed).hexdigest()
    entry = _chunk(1, SEAL_KEY.encode()) + _chunk(2, digest.encode())
    return unsealed + _chunk(_METADATA, entry)


def _digest(data: bytes, fields: tuple[_Field, ...]) -> str:
    digest = hashlib.sha256()
    view = memoryview(data)
    for field in fields:
        if not _is_seal(field):
            digest.update(view[field.start : field.end])
    return digest.hexdigest()


def _is_seal(field: _Field) -> bool:
    return field.number == _METADATA and _entry(field.value)[0] == SEAL_KEY


def _fields(data: memoryview) -> Iterator[_Field]:
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        value, at = _value(data, tag & 7, at)
        yield _Field(tag >> 3, value, start, at)


def _value(data: memoryview, kind: int, at: int) -> tuple[int | memoryview, int]:
    if kind == _VARINT:
        return _varint(data, at)
    if kind == _BYTES:
        size, at = _varint(data, at)
    elif kind in (_FIXED32, _FIXED64):
        size = 4 if kind == _FIXED32 else 8
    else:
        raise DamagedModelError(
            f"the model file is damaged at byte {at}: no ONNX file has a field of kind {kind}; "
            "fetch it again"
        )
    if at + size > len(data):
        raise TruncatedModelError(
            f"the model file is cut off: {size} bytes should follow byte {at}, "
            f"{len(data) - at} do; fetch it again"
        )
    return data[at : at + size], at + size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + shift + 1
    raise TruncatedModelError(f"the model file is cut off in a number at byte {at}; fetch it again")


def _entry(value: int | memoryview) -> tuple[str, str]:
    """Return key and value of a StringStringEntryProto."""
    found = _message(value)
    return _text(found.get(1, 0)), _text(found.get(2, 0))


def _opset(value: int | memoryview) -> tuple[str, int]:
    """Return domain and version of an OperatorSetIdProto."""
    found = _message(value)
    version = found.get(2, 0)
    return _text(found.get(1, 0)), version if isinstance(version, int) else 0


def _message(value: int | memoryview) -> dict[int, int | memoryview]:
    if isinstance(value, int):
        raise DamagedModelError("the model file is damaged: a number where text should be")
    found: dict[int, int | memoryview] = {}
    at = 0
    while at < len(value):
        tag, at = _varint(value, at)
        found[tag >> 3], at = _value(value, tag & 7, at)
    return found


def _text(value: int | memoryview) -> str:
    return "" if isinstance(value, int) else bytes(value).decode(errors="replace")


def _chunk(number: int, content: bytes) -> bytes:
    return _written_varint(number << 3 | _BYTES) + _written_varint(len(content)) + content


def _written_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
