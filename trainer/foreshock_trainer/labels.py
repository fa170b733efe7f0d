"""Labels: the work orders' view of the machines, from a CSV export into the lake's events table.

Columns `machine,time,kind,mode,detail`; `time` is RFC 3339 with its offset; `mode` and `detail`
may be empty. A row that is already there adds nothing; a bad row is named and left out.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from foreshock_trainer.ingest import MAX_ATTEMPTS
from foreshock_trainer.lake import LakeError, StaleMarksError
from foreshock_trainer.tables import columns_of
from foreshock_wire.errors import ForeshockError, InvalidIdError
from foreshock_wire.ids import check_id
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from foreshock_trainer.lake import Lake

SOURCE: Final = "labels"
"""What the events table's column `source` says about a row that came as a label."""
COLUMNS: Final = ("machine", "time", "kind", "mode", "detail")

_APP_ID: Final = "labels"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1700, 2262)  # what int64 nanoseconds can hold


class Kind(StrEnum):
    """What can happen to a machine."""

    FAILURE = "failure"
    MAINTENANCE = "maintenance"
    INSTALLED = "installed"
    REPAIRED = "repaired"
    OBSERVED_UNTIL = "observed_until"


class LabelError(ForeshockError):
    """A label that cannot be understood; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Label:
    """One event of a machine (`time_ns` UTC)."""

    machine: str
    time_ns: int
    kind: Kind
    mode: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: its line in the file, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What became of a file's rows."""

    added: int
    known: int
    refused: tuple[BadRow, ...]


def add_labels(lake: Lake, file: Path) -> LabelReport:
    """Put the labels of `file` into the lake, each once.

    Raises:
        LabelError: the file is not CSV with the columns above.
        LakeError: the lake cannot be written.
    """
    labels, refused = read_labels(file)
    wanted = dict.fromkeys(labels)
    for _ in range(MAX_ATTEMPTS):
        # The counter is read before the table: labels that another writer adds in between move
        # it, and the commit is then refused.
        counter = lake.transaction(Stream.EVENTS, _APP_ID)
        held = set(labels_of(lake))
        fresh = [label for label in wanted if label not in held]
        if not fresh:
            break
        try:
            lake.append(Stream.EVENTS, _rows(fresh), {_APP_ID: counter + len(fresh)})
        except StaleMarksError:
            continue
        return LabelReport(len(fresh), len(labels) - len(fresh), tuple(refused))
    else:
        raise LakeError(f"other writers were faster {MAX_ATTEMPTS} times: add {file} again")
    return LabelReport(0, len(labels), tuple(refused))


def labels_of(lake: Lake) -> list[Label]:
    """Return the labels that the lake holds, by machine and time."""
    return [
        Label(row["machine"], row["time_ns"], Kind(row["kind"]), row["mode"], row["detail"])
        for row in lake.events().to_pylist()
        if row["source"] == SOURCE
    ]


def read_labels(file: Path) -> tuple[list[Label], list[BadRow]]:
    """Parse a CSV file into labels and the rows that are none.

    Raises:
        LabelError: it cannot be read, or a column is missing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return _parse(csv.DictReader(lines, strict=True), file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"cannot read {file} as CSV in UTF-8: {error}") from error


def _parse(rows: csv.DictReader[str], file: Path) -> tuple[list[Label], list[BadRow]]:
    if missing := set(COLUMNS) - set(rows.fieldnames or ()):
        raise LabelError(
            f"{file} has no column {', '.join(sorted(missing))}: "
            f"its first line must name {','.join(COLUMNS)}"
        )
    labels: list[Label] = []
    refused: list[BadRow] = []
    for row in rows:
        try:
            labels.append(parse_label(row))
        except LabelError as error:
            refused.append(BadRow(rows.line_num, str(error)))
    return labels, refused


def parse_label(row: dict[str, str]) -> Label:
    """Return the label that a row of the five columns means.

    Raises:
        LabelError: a field is missing, surplus or not what its column holds.
    """
    if None in row or None in row.values():
        raise LabelError(f"it does not have {len(COLUMNS)} fields as the header does")
    try:
        machine, kind = check_id(row["machine"].strip(), "machine"), Kind(row["kind"].strip())
    except InvalidIdError as error:
        raise LabelError(str(error)) from None
    except ValueError:
        raise LabelError(f"kind {row['kind']!r} is none of {', '.join(Kind)}") from None
    return Label(
        machine,
        time_ns(row["time"].strip()),
        kind,
        row["mode"].strip() or None,
        row["detail"].strip() or None,
    )


def time_ns(text: str) -> int:
    """Return an RFC 3339 time as UTC nanoseconds.

    Raises:
        LabelError: it is not one, or has no offset from UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LabelError(f"time {text!r} is not RFC 3339, like 2024-01-31T06:00:00Z") from None
    if moment.tzinfo is None:
        raise LabelError(f"time {text!r} has no offset: add Z if it is UTC")
    if moment.year not in _YEARS:
        raise LabelError(f"time {text!r} is not within {_YEARS.start} to {_YEARS.stop - 1}")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def time_text(at_ns: int) -> str:
    """Return UTC nanoseconds as RFC 3339, to the microsecond."""
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat().replace("+00:00", "Z")


def _rows(labels: Iterable[Label]) -> pa.Table:
    schema = columns_of(Stream.EVENTS)
    rows = []
    for label in labels:
        fields = {
            "machine": label.machine,
            "time_ns": label.time_ns,
            "kind": str(label.kind),
            "mode": label.mode,
            "detail": label.detail,
        }
        rows.append(fields | {"source": SOURCE, "body": json.dumps(fields)})
    return pa.Table.from_pylist(rows, schema=schema)
