"""Telemetry batches: readings and scores as compressed columns behind a CRC.

Layout, little-endian (released bytes are kept under tests/wire/ for ever):

    magic    4 bytes  b"FSB1"
    crc      uint32   CRC-32 of everything after this field
    kind     uint8    1 readings, 2 scores
    length   uint32   size of the body before compression
    body     zlib     header (JSON, length-prefixed with uint32), then the columns in order

A column of times holds differences between neighbours (int64, first difference from zero), which
is what makes it compress. Record i has the sequence number `first_seq + i`.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import numpy as np

from foreshock_wire.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAGIC: Final = b"FSB1"
MAX_BODY_BYTES: Final = 64 << 20
"""A body that claims to be larger is refused before it is unpacked."""

_ENVELOPE: Final = struct.Struct("<4sIBI")
_LENGTH: Final = struct.Struct("<I")
_TIME: Final = np.dtype("<i8")
_INDEX: Final = np.dtype("<u2")
_VALUE: Final = np.dtype("<f4")
_FLAGS: Final = np.dtype("u1")

FLAG_LATE: Final = 1
"""The reading came after a window that should have held it was scored."""
FLAG_FUTURE: Final = 2
"""The source's stamp lay further ahead of a trusted clock than the settings allow."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one epoch's stream, in strict order of seq."""

    kind: ClassVar[int]
    columns: ClassVar[dict[str, np.dtype[Any]]]

    epoch: str
    first_seq: int

    def __len__(self) -> int:
        return len(next(getattr(self, name) for name in self.columns))

    @property
    def last_seq(self) -> int:
        """The seq of the last record."""
        return self.first_seq + len(self) - 1

    def after(self, seq: int) -> Self:
        """Return the part above `seq` (the receiver's high-water mark)."""
        skip = min(max(0, seq + 1 - self.first_seq), len(self))
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        kept |= {name: getattr(self, name)[skip:] for name in self.columns}
        return type(self)(**(kept | {"first_seq": self.first_seq + skip}))

    def to_bytes(self) -> bytes:
        """Return the released wire form."""
        header = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.columns
        } | {"count": len(self)}
        text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        body = b"".join(
            [_LENGTH.pack(len(text)), text]
            + [_pack(getattr(self, name), kind) for name, kind in self.columns.items()]
        )
        rest = struct.pack("<BI", self.kind, len(body)) + zlib.compress(body, 6)
        return MAGIC + _LENGTH.pack(zlib.crc32(rest)) + rest


@dataclass(frozen=True, slots=True)
class Readings(Batch):
    """Readings: one value of one channel of one machine at one source time each.

    `machine` and `channel` index the name tables (uint16[n]); `time_ns` is the source's stamp and
    `received_ns` the gateway's (int64[n], UTC); `value` is float32[n], NaN never; `flags` uint8[n].
    """

    kind: ClassVar[int] = 1
    columns: ClassVar[dict[str, np.dtype[Any]]] = {
        "machine": _INDEX,
        "channel": _INDEX,
        "time_ns": _TIME,
        "received_ns": _TIME,
        "value": _VALUE,
        "flags": _FLAGS,
    }

    machines: Sequence[str]
    channels: Sequence[str]
    machine: npt.NDArray[np.uint16]
    channel: npt.NDArray[np.uint16]
    time_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scores(Batch):
    """Scores: one per scored window, `time_ns` being the window's end (exclusive).

    `model` indexes `models` (SHA-256 in hex, or "rule" for the threshold fallback); `probability`
    and `novelty` are float32[n], NaN where the model gave none.
    """

    kind: ClassVar[int] = 2
    columns: ClassVar[dict[str, np.dtype[Any]]] = {
        "machine": _INDEX,
        "model": _INDEX,
        "time_ns": _TIME,
        "scored_ns": _TIME,
        "probability": _VALUE,
        "novelty": _VALUE,
    }

    machines: Sequence[str]
    models: Sequence[str]
    machine: npt.NDArray[np.uint16]
    model: npt.NDArray[np.uint16]
    time_ns: npt.NDArray[np.int64]
    scored_ns: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    novelty: npt.NDArray[np.float32]


_B = TypeVar("_B", Readings, Scores)


def decode(payload: bytes, expected: type[_B]) -> _B:
    """Check and unpack a batch.

    Raises:
        BatchError: truncated, damaged, oversize, of another kind, or with contradicting columns.
    """
    body = _open(payload, expected)
    try:
        header, offset = _header(body)
        count = int(header.pop("count"))
        columns: dict[str, Any] = {}
        for name, kind in expected.columns.items():
            columns[name] = _unpack(body, offset, count, kind)
            offset += count * kind.itemsize
        batch = expected(**header, **columns)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise BatchError(f"{expected.__name__} batch does not hold what it says: {error}") from None
    if offset != len(body):
        raise BatchError(f"{expected.__name__} batch has {len(body) - offset} bytes too many")
    _check(batch)
    return batch


def _open(payload: bytes, expected: type[Batch]) -> bytes:
    if len(payload) < _ENVELOPE.size or payload[:4] != MAGIC:
        raise BatchError("not a telemetry batch: magic FSB1 is missing")
    _, crc, kind, length = _ENVELOPE.unpack_from(payload)
    if zlib.crc32(memoryview(payload)[8:]) != crc:
        raise BatchError("telemetry batch is damaged: CRC differs")
    if kind != expected.kind:
        raise BatchError(f"telemetry batch is of kind {kind}, expected {expected.__name__}")
    if length > MAX_BODY_BYTES:
        raise BatchError(f"telemetry batch claims {length} bytes, at most {MAX_BODY_BYTES} allowed")
    try:
        body = zlib.decompressobj().decompress(payload[_ENVELOPE.size :], length + 1)
    except zlib.error as error:
        raise BatchError(f"telemetry batch does not unpack: {error}") from None
    if len(body) != length:
        raise BatchError(f"telemetry batch unpacks to another size than {length} bytes")
    return body


def _header(body: bytes) -> tuple[dict[str, Any], int]:
    (size,) = _LENGTH.unpack_from(body)
    header = json.loads(body[_LENGTH.size : _LENGTH.size + size])
    if not isinstance(header, dict):
        raise TypeError("header is no object")
    return header, _LENGTH.size + size


def _pack(column: npt.NDArray[Any], kind: np.dtype[Any]) -> bytes:
    column = np.ascontiguousarray(column, dtype=kind)
    if kind is _TIME and len(column):
        column = np.concatenate([column[:1], np.diff(column)])
    return column.tobytes()


def _unpack(body: bytes, offset: int, count: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    column = np.frombuffer(body, dtype=kind, count=count, offset=offset)
    return np.cumsum(column, dtype=_TIME) if kind is _TIME else column


def _check(batch: Readings | Scores) -> None:
    if batch.first_seq < 1 or not len(batch):
        raise BatchError("telemetry batch is empty or begins below seq 1")
    names = [(batch.machine, batch.machines)]
    names.append(
        (batch.channel, batch.channels)
        if isinstance(batch, Readings)
        else (batch.model, batch.models)
    )
    if any(int(index.max()) >= len(table) for index, table in names):
        raise BatchError("telemetry batch names an entry that its tables do not hold")
