"""Labels from a table file, CSV or Parquet: a bad row is named and left out.

Columns `machine,time,kind,mode,detail`; `time` is RFC 3339 with its offset (in Parquet also a
timestamp with a time zone); `mode` and `detail` may be empty; further columns are ignored.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from foreshock_trainer.labels import Label, LabelError, parse_label, put_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from foreshock_trainer.lake import Lake

COLUMNS: Final = ("machine", "time", "kind", "mode", "detail")
PARQUET: Final = frozenset({".parquet", ".pq"})

Row = dict[Any, Any]


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
        LabelError: the file is no table with the columns above.
        LakeError: the lake cannot be written.
    """
    labels, refused = read_labels(file)
    added = put_labels(lake, labels)
    return LabelReport(added, len(labels) - added, tuple(refused))


def read_labels(file: Path) -> tuple[list[Label], list[BadRow]]:
    """Parse a file into labels and the rows that are none.

    Raises:
        LabelError: it cannot be read, or a column is missing.
    """
    if file.suffix.lower() in PARQUET:
        return _parsed(_parquet_rows(file))
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return _parsed(_csv_rows(csv.DictReader(lines, strict=True), file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"cannot read {file} as CSV in UTF-8: {error}") from error


def _parsed(rows: Iterable[tuple[int, Row]]) -> tuple[list[Label], list[BadRow]]:
    labels: list[Label] = []
    refused: list[BadRow] = []
    for line, row in rows:
        try:
            labels.append(parse_label(row))
        except LabelError as error:
            refused.append(BadRow(line, str(error)))
    return labels, refused


def _csv_rows(rows: csv.DictReader[str], file: Path) -> Iterator[tuple[int, Row]]:
    _need_columns(rows.fieldnames or (), file)
    for row in rows:
        yield rows.line_num, row


def _parquet_rows(file: Path) -> Iterator[tuple[int, Row]]:
    try:
        there = pq.read_schema(file).names
        _need_columns(there, file)
        table = pq.read_table(file, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise LabelError(f"cannot read {file} as Parquet: {error}") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield number, {name: _text(value) for name, value in row.items()}


def _need_columns(there: Iterable[str], file: Path) -> None:
    if missing := set(COLUMNS) - set(there):
        raise LabelError(
            f"{file} has no column {', '.join(sorted(missing))}: it must have {','.join(COLUMNS)}"
        )


def _text(value: object) -> str:
    """Return a cell as CSV would hold it."""
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)
