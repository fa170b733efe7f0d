"""What waits to go up, for a person at the gateway; reads only."""

from __future__ import annotations

from contextlib import closing
from math import isnan
from typing import TYPE_CHECKING, Any

from foreshock_agent.store.database import looking
from foreshock_agent.uplink.outbox import Outbox, pending_records
from foreshock_wire.batch import Readings, Scores
from foreshock_wire.messages import Gap, RecordBatch
from foreshock_wire.times import rfc3339
from foreshock_wire.topics import Stream
from foreshock_wire.uploads import decode_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from foreshock_agent.uplink.outbox import Parcel

_PENDING = "JOIN cursors AS c ON c.epoch = t.epoch AND c.stream = ?1 WHERE"
_SCORE_BYTES = (
    "length(machine) + length(model) + "
    "8 * (2 + (margin IS NOT NULL) + (probability IS NOT NULL) + (novelty IS NOT NULL))"
)
"""Names, two times, and those figures that there are."""
_QUERIES = {
    Stream.READINGS: f"SELECT sum(length(body)), min(oldest_ns) FROM chunks AS t {_PENDING} "  # noqa: S608
    "last_seq > acked_seq AND kept = 0",
    Stream.SCORES: f"SELECT sum({_SCORE_BYTES}), min(time_ns) FROM scores AS t {_PENDING} "  # noqa: S608
    "seq > acked_seq",
}
_RECORDS = (
    "SELECT sum(length(body)), "  # noqa: S608 - constants
    "min(CASE WHEN json_valid(body) THEN json_extract(body, '$.time_ns') END) FROM records AS t "
    f"{_PENDING} t.stream = ?1 AND seq > acked_seq"
)


def waiting(database: Path) -> dict[str, dict[str, Any]]:
    """Return by stream how many records wait, what they take as stored, and the oldest's time.

    That is the bytes of their bodies; of scores, which have none, of their columns. A time (UTC,
    ns) is None where nothing waits.

    Raises:
        NoStoreError: there is no database.
        StoreDamagedError: SQLite cannot read it.
    """
    found = {}
    with looking(database) as db:
        for stream, count in pending_records(db).items():
            size, oldest = db.execute(_QUERIES.get(stream, _RECORDS), (stream,)).fetchone()
            found[str(stream)] = {"records": count, "bytes": size or 0, "oldest_ns": oldest}
    return found


def next_records(database: Path, stream: Stream, limit: int) -> list[dict[str, Any]]:
    """Return the records of a stream that go up next, in their order; a gap stands for several.

    Raises:
        NoStoreError: there is no database.
        StoreDamagedError: SQLite cannot read it.
        UnreadableError: what comes next is damaged; a running agent gives it up and goes on.
    """
    found: list[dict[str, Any]] = []
    after: dict[str, int] = {}
    with looking(database), closing(Outbox(database)) as outbox:
        while len(found) < limit:
            parcel = outbox.next_parcel(stream, after, limit)
            if parcel is None:
                break
            found += _opened(parcel)
            after[parcel.epoch] = parcel.last_seq
    return found[:limit]


def record_line(record: Mapping[str, Any]) -> str:
    """Return a record in one line: its time first, then all that it says in short."""
    rest = {name: value for name, value in record.items() if value not in ("", None, [], {})}
    time_ns = rest.pop("time_ns", None)
    at = "-" if time_ns is None else rfc3339(time_ns)
    told = " ".join(f"{name}={_short(name, value)}" for name, value in rest.items() if name != "v")
    return f"{at:<27} {told}"


def _short(name: str, value: object) -> str:
    match value:
        case int() if name.endswith("_ns"):
            return rfc3339(value)
        case float():
            return f"{value:g}"
        case list() | dict():
            return f"({len(value)})"
        case _:
            return str(value)


def _opened(parcel: Parcel) -> Iterator[dict[str, Any]]:
    """Return the records of a parcel as JSON."""
    body = decode_body(parcel.stream, parcel.payload)
    match body:
        case Gap():
            rows: Iterable[dict[str, Any]] = [
                {"seq": body.first_seq, "last_seq": body.last_seq, "dropped": body.reason}
            ]
        case RecordBatch():
            rows = ({"seq": one.seq} | one.body for one in body.records)
        case Readings() | Scores():
            rows = _rows(body)
    return ({"epoch": parcel.epoch} | row for row in rows)


def _rows(batch: Readings | Scores) -> Iterator[dict[str, Any]]:
    """Yield the records of a batch, with names instead of indices, and None instead of NaN."""
    columns = {name: _column(batch, name) for name in batch.columns}
    for seq, values in enumerate(zip(*columns.values(), strict=True), start=batch.first_seq):
        row = zip(columns, values, strict=True)
        yield {"seq": seq} | {name: _told(value) for name, value in row}


def _column(batch: Readings | Scores, name: str) -> list[Any]:
    values: list[Any] = getattr(batch, name).tolist()
    table = batch.tables.get(name)
    return values if table is None else [getattr(batch, table)[index] for index in values]


def _told(value: object) -> object:
    """Return what JSON can say of a value."""
    return None if isinstance(value, float) and isnan(value) else value
