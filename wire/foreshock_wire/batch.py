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
import re
import struct
import zlib
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

import numpy as np

from foreshock_wire.errors import BatchError, InvalidIdError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

MAGIC: Final = b"FSB1"
MAX_BODY_BYTES: Final = 64 << 20
"""A body that claims to be larger is refused before it is unpacked."""
MAX_SEQ: Final = (1 << 63) - 1
MAX_INDEX: Final = (1 << 16) - 1

_ENVELOPE: Final = struct.Struct("<4sIBI")
FEW_NAMES: Final = 16
"""Name tables up to this length are remembered when they are good: the same ones come again."""

_LENGTH: Final = struct.Struct("<I")
_TIME: Final = np.dtype("<i8")
_INDEX: Final = np.dtype("<u2")
_VALUE: Final = np.dtype("<f4")
_FLAGS: Final = np.dtype("u1")
_LISTS: Final = (list, tuple)
_EPOCH: Final = re.compile(r"[0-9a-z]{1,40}")
_MODEL: Final = re.compile(r"[0-9a-f]{64}|rule")

FLAG_LATE: Final = 1
"""The reading came after a window that should have held it was scored."""
FLAG_FUTURE: Final = 2
"""The source's stamp lay further ahead of a trusted clock than the settings allow."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one epoch's stream, in strict order of seq."""

    kind: ClassVar[int]
    columns: ClassVar[dict[str, np.dtype[Any]]]
    tables: ClassVar[dict[str, str]]
    """The name table that each index column points into."""

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
        skip = self._count_to(seq)
        return replace(self.where(slice(skip, None)), first_seq=self.first_seq + skip)

    def up_to(self, seq: int) -> Self:
        """Return the part at or below `seq`."""
        return self.head(self._count_to(seq))

    def _count_to(self, seq: int) -> int:
        return min(max(0, seq + 1 - self.first_seq), len(self))

    def head(self, count: int) -> Self:
        """Return the first `count` records."""
        return self.where(slice(count))

    def where(self, rows: slice | npt.NDArray[np.bool_]) -> Self:
        """Return some records under the same header; unless they are the first, seqs are void."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self.columns})

    def to_bytes(self, level: int = 6) -> bytes:
        """Return the released wire form, compressed with zlib's `level`.

        Raises:
            BatchError: empty, too large, or contradicting columns; nothing that `decode` refuses.
        """
        count = len(self)
        if any(len(getattr(self, name)) != count for name in self.columns):
            raise BatchError("telemetry batch: columns are of different lengths")
        _check(self, count)
        header = {name: getattr(self, name) for name in _IN_HEADER[type(self)]}
        header["count"] = count
        text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
        body = b"".join(
            [_LENGTH.pack(len(text)), text]
            + [_pack(getattr(self, name), kind) for name, kind in self.columns.items()]
        )
        if len(body) > MAX_BODY_BYTES:
            raise BatchError(f"telemetry batch of {len(self)} records is too large: send fewer")
        rest = struct.pack("<BI", self.kind, len(body)) + zlib.compress(body, level)
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
    tables: ClassVar[dict[str, str]] = {"machine": "machines", "channel": "channels"}

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
    tables: ClassVar[dict[str, str]] = {"machine": "machines", "model": "models"}

    machines: Sequence[str]
    models: Sequence[str]
    machine: npt.NDArray[np.uint16]
    model: npt.NDArray[np.uint16]
    time_ns: npt.NDArray[np.int64]
    scored_ns: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float32]
    novelty: npt.NDArray[np.float32]


_B = TypeVar("_B", bound=Batch)


_IN_HEADER: Final[dict[type[Batch], list[str]]] = {
    kind: [f.name for f in fields(kind) if f.name not in kind.columns]
    for kind in (Readings, Scores)
}
_RECORD_BYTES: Final[dict[type[Batch], int]] = {
    kind: sum(column.itemsize for column in kind.columns.values()) for kind in _IN_HEADER
}


def decode(payload: bytes | bytearray, expected: type[_B]) -> _B:
    """Check and unpack a batch; header fields of a newer writer are ignored.

    Raises:
        BatchError: truncated, damaged, oversize, of another kind, or with contradicting columns.
    """
    body = _open(payload, expected)
    try:
        header, offset = _header(body)
        count = header["count"]
        if type(count) is not int or offset + count * _RECORD_BYTES[expected] != len(body):
            raise BatchError(f"{expected.__name__} batch does not hold its {count!r} records")
        values = {name: header[name] for name in _IN_HEADER[expected] if name in header}
        for name, kind in expected.columns.items():
            column = np.frombuffer(body, kind, count, offset)
            values[name] = np.add.accumulate(column) if kind is _TIME else column
            offset += column.nbytes
        batch = expected(**values)
    except (ValueError, TypeError, KeyError, RecursionError, struct.error) as error:
        raise BatchError(f"{expected.__name__} batch is not readable: {error!r}") from None
    _check(batch, count)
    return batch


def joined(batches: Sequence[_B]) -> _B:
    """Return one batch of consecutive ones of one epoch, their name tables made one."""
    kind = type(batches[0])
    values = {f.name: getattr(batches[0], f.name) for f in fields(kind)}
    names: dict[str, dict[str, int]] = {table: {} for table in kind.tables.values()}
    for column in kind.columns:
        parts = [getattr(batch, column) for batch in batches]
        if table := kind.tables.get(column):
            parts = [
                _renumbered(getattr(batch, table), names[table])[part]
                for batch, part in zip(batches, parts, strict=True)
            ]
        values[column] = np.concatenate(parts)
    return kind(**(values | {table: list(known) for table, known in names.items()}))


def _renumbered(table: Sequence[str], known: dict[str, int]) -> npt.NDArray[np.int64]:
    return np.array([known.setdefault(name, len(known)) for name in table], np.int64)


def _open(payload: bytes | bytearray, expected: type[Batch]) -> bytes:
    if len(payload) < _ENVELOPE.size or payload[:4] != MAGIC:
        raise BatchError("not a telemetry batch: magic FSB1 is missing")
    _, crc, kind, length = _ENVELOPE.unpack_from(payload)
    if zlib.crc32(memoryview(payload)[8:]) != crc:
        raise BatchError("telemetry batch is damaged: CRC differs")
    if kind != expected.kind:
        raise BatchError(f"telemetry batch is of kind {kind}, expected {expected.__name__}")
    if length > MAX_BODY_BYTES:
        raise BatchError(f"telemetry batch claims {length} bytes, at most {MAX_BODY_BYTES} allowed")
    unpacker = zlib.decompressobj()
    try:
        body = unpacker.decompress(payload[_ENVELOPE.size :], length + 1)
    except zlib.error as error:
        raise BatchError(f"telemetry batch does not unpack: {error}") from None
    if len(body) != length or not unpacker.eof or unpacker.unused_data:
        raise BatchError(f"telemetry batch unpacks to another size than {length} bytes")
    return body


def _header(body: bytes) -> tuple[dict[str, Any], int]:
    from pydantic_core import from_json  # noqa: PLC0415 - whoever runs a model does without it

    (size,) = _LENGTH.unpack_from(body)
    header = from_json(body[_LENGTH.size : _LENGTH.size + size])
    if not isinstance(header, dict):
        raise TypeError("header is no object")
    return header, _LENGTH.size + size


def _pack(column: npt.NDArray[Any], kind: np.dtype[Any]) -> bytes:
    column = np.ascontiguousarray(column, dtype=kind)
    if kind is _TIME and len(column):
        column = np.concatenate([column[:1], np.diff(column)])
    return column.tobytes()


def _check(batch: Batch, count: int) -> None:
    """Raise unless the batch of `count` records is one that a gateway can have meant.

    Raises:
        BatchError: names the field.
    """
    problem = None
    epoch: object = batch.epoch  # a header may hold anything
    if not isinstance(epoch, str) or not _EPOCH.fullmatch(epoch):
        problem = f"epoch {epoch!r} is not valid"
    elif type(batch.first_seq) is not int or not 1 <= batch.first_seq <= MAX_SEQ - count:
        problem = f"first_seq {batch.first_seq!r} is not a sequence number"
    elif not count:
        problem = "columns are empty"
    if problem:
        raise BatchError(f"telemetry batch: {problem}")
    for column, table in batch.tables.items():
        _check_table(table, getattr(batch, table), getattr(batch, column))


def _check_table(table: str, names: Sequence[str], index: npt.NDArray[Any]) -> None:
    try:
        check = _check_few if len(names) <= FEW_NAMES else _check_names
        check(table, type(names), *names)
    except TypeError:
        raise BatchError(f"telemetry batch: {table} is not a list of names") from None
    last = int(index[index.argmax()])  # half the time of `max`, which runs through Python
    if last >= len(names) or (index.dtype.kind != "u" and int(index.min()) < 0):
        raise BatchError(f"telemetry batch: an index points outside its {len(names)} {table}")
    if last > MAX_INDEX:
        raise BatchError(f"telemetry batch: {len(names)} {table} are too many for one batch")


def _check_names(table: str, kind: type, *names: str) -> None:
    if kind not in _LISTS:
        raise TypeError(kind)
    try:
        for name in names:
            if table != "models":
                check_id(name, table)
            elif not _MODEL.fullmatch(name):
                raise BatchError(f"telemetry batch: model {name!r} is no SHA-256 and not 'rule'")
    except InvalidIdError as error:
        raise BatchError(f"telemetry batch: {error}") from None


_check_few = lru_cache(maxsize=1024)(_check_names)
