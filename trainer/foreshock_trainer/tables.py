"""The lake's tables: their columns, and nothing that touches a disk.

Every table carries `date` (UTC, the day of ingest; the partition) and `ingested_ns`, which the
lake stamps when it commits. Times are UTC nanoseconds; `time_ns` is the source's own stamp.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTITION: Final = "date"
INGESTED: Final = "ingested_ns"
GAPS: Final = "gaps"
QUARANTINE: Final = "quarantine"

_STAMPS = (pa.field(PARTITION, pa.date32()), pa.field(INGESTED, pa.int64()))
_KEY = (
    pa.field("site", pa.string()),
    pa.field("gateway", pa.string()),
    pa.field("epoch", pa.string()),
    pa.field("seq", pa.int64()),
)
_AT = (pa.field("machine", pa.string()), pa.field("time_ns", pa.int64()))

SCHEMAS: Final[Mapping[str, pa.Schema]] = MappingProxyType(
    {
        Stream.READINGS.value: pa.schema(
            [
                *_STAMPS,
                *_KEY,
                *_AT,
                pa.field("channel", pa.string()),
                pa.field("value", pa.float32()),
                pa.field("received_ns", pa.int64()),
                pa.field("flags", pa.int16()),
            ]
        ),
        Stream.SCORES.value: pa.schema(
            [
                *_STAMPS,
                *_KEY,
                *_AT,
                pa.field("scored_ns", pa.int64()),
                pa.field("model", pa.string()),
                pa.field("probability", pa.float32()),
                pa.field("novelty", pa.float32()),
            ]
        ),
        Stream.ALARMS.value: pa.schema(
            [
                *_STAMPS,
                *_KEY,
                *_AT,
                pa.field("episode", pa.int64()),
                pa.field("state", pa.string()),
                pa.field("priority", pa.string()),
                pa.field("probability", pa.float64()),
                pa.field("mode", pa.string()),
                pa.field("model", pa.string()),
                pa.field("body", pa.string()),
            ]
        ),
        Stream.EVENTS.value: pa.schema(
            [
                *_STAMPS,
                *_KEY,
                *_AT,
                pa.field("kind", pa.string()),
                pa.field("mode", pa.string()),
                pa.field("detail", pa.string()),
                pa.field("source", pa.string()),
                pa.field("body", pa.string()),
            ]
        ),
        GAPS: pa.schema(
            [
                *_STAMPS,
                *_KEY[:3],
                pa.field("stream", pa.string()),
                pa.field("first_seq", pa.int64()),
                pa.field("last_seq", pa.int64()),
                pa.field("reason", pa.string()),
            ]
        ),
        QUARANTINE: pa.schema(
            [
                *_STAMPS,
                pa.field("topic", pa.string()),
                pa.field("received_ns", pa.int64()),
                pa.field("reason", pa.string()),
                pa.field("payload_bytes", pa.int64()),
                pa.field("payload", pa.binary()),
            ]
        ),
    }
)
"""Columns of each table, in order."""

NAMES: Final = ("site", "gateway", "epoch", "machine", "channel", "model")
"""Columns that repeat few values: dictionaries in memory, where a row then costs 4 bytes."""

TELEMETRY: Final = (Stream.READINGS.value, Stream.SCORES.value)
"""The large tables."""

STREAMED: Final = (*TELEMETRY, Stream.ALARMS.value)
"""Tables whose rows all have a place in a gateway's stream, and are read in that order."""


def shape_of(table: str) -> pa.Schema:
    """Return a table's columns as they are in memory."""
    schema = SCHEMAS[table]
    return pa.schema([_small(field) for field in schema]) if table in TELEMETRY else schema


def columns_of(table: str) -> pa.Schema:
    """Return the columns that a writer brings: all but the stamps that the lake adds."""
    return pa.schema([field for field in shape_of(table) if field not in _STAMPS])


def _small(field: pa.Field) -> pa.Field:
    return field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in NAMES else field
