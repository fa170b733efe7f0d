"""Uploads -> table rows: pure conversion; columns and units as in `tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
from pydantic_core import to_json

from foreshock_trainer.tables import GAPS, columns_of
from foreshock_wire.messages import Gap
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy.typing as npt

    from foreshock_trainer.inbox import Upload
    from foreshock_wire.batch import Readings, Scores
    from foreshock_wire.messages import RecordBatch

_INT64 = 1 << 63


def rows_of(stream: Stream, uploads: Iterable[Upload]) -> pa.Table:
    """Return the rows of `uploads` (all of `stream`), in order; gaps have none."""
    schema = columns_of(stream)
    parts = [_PARTS[stream](upload) for upload in uploads if not isinstance(upload.body, Gap)]
    return pa.concat_tables([schema.empty_table(), *parts])


def gap_rows(uploads: Iterable[Upload]) -> pa.Table:
    """Return a row for each tombstone among `uploads`."""
    rows = [
        {
            "site": upload.at.site,
            "gateway": upload.at.gateway,
            "epoch": upload.body.epoch,
            "stream": str(upload.stream),
            "first_seq": upload.body.first_seq,
            "last_seq": upload.body.last_seq,
            "reason": upload.body.reason,
        }
        for upload in uploads
        if isinstance(upload.body, Gap)
    ]
    return pa.Table.from_pylist(rows, schema=columns_of(GAPS))


def _readings(upload: Upload) -> pa.Table:
    batch = cast("Readings", upload.body)
    return _telemetry(
        upload,
        {
            "machine": _names(batch.machines, batch.machine),
            "time_ns": batch.time_ns,
            "channel": _names(batch.channels, batch.channel),
            "value": batch.value,
            "received_ns": batch.received_ns,
            "flags": batch.flags.astype("int16"),
        },
    )


def _scores(upload: Upload) -> pa.Table:
    batch = cast("Scores", upload.body)
    return _telemetry(
        upload,
        {
            "machine": _names(batch.machines, batch.machine),
            "time_ns": batch.time_ns,
            "scored_ns": batch.scored_ns,
            "model": _names(batch.models, batch.model),
            "probability": batch.probability,
            "novelty": batch.novelty,
        },
    )


def _telemetry(upload: Upload, columns: dict[str, Any]) -> pa.Table:
    batch = cast("Readings | Scores", upload.body)
    count = len(batch)
    key = {
        "site": _constant(upload.at.site, count),
        "gateway": _constant(upload.at.gateway, count),
        "epoch": _constant(batch.epoch, count),
        "seq": np.arange(batch.first_seq, batch.first_seq + count),
    }
    return pa.table(key | columns, schema=columns_of(upload.stream))


def _names(table: Sequence[str], index: npt.NDArray[np.uint16]) -> pa.DictionaryArray:
    # A table may name one machine twice, a dictionary may not.
    unique = pa.array(table, pa.string()).dictionary_encode()
    codes = unique.indices.to_numpy()[index]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), unique.dictionary)


def _constant(name: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [name])


def _records(upload: Upload) -> pa.Table:
    batch = cast("RecordBatch", upload.body)
    schema = columns_of(upload.stream)
    rows = [
        _from_body(schema, record.body)
        | {
            "site": upload.at.site,
            "gateway": upload.at.gateway,
            "epoch": batch.epoch,
            "seq": record.seq,
            "body": to_json(record.body).decode(),
        }
        for record in batch.records
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _from_body(schema: pa.Schema, body: Mapping[str, object]) -> dict[str, object]:
    """Take the fields that are columns; one of another type stays in `body` alone."""
    fields = {field.name: _fit(body.get(field.name), field.type) for field in schema}
    if "source" in fields:
        fields["source"] = fields["source"] or "gateway"
    return fields


def _fit(value: object, kind: pa.DataType) -> object:
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return None
    if pa.types.is_integer(kind):
        return value if isinstance(value, int) else None
    return float(value)


_PARTS: dict[Stream, Callable[[Upload], pa.Table]] = {
    Stream.READINGS: _readings,
    Stream.SCORES: _scores,
    Stream.ALARMS: _records,
    Stream.EVENTS: _records,
}
