"""Table files as people have them: CSV with any usual separator, plain or gzipped, or Parquet."""

from __future__ import annotations

import gzip
import hashlib
import re
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from foreshock_trainer.history.plan import HistoryError
from foreshock_trainer.label_files import PARQUET

if TYPE_CHECKING:
    from pathlib import Path

SEPARATORS: Final = (",", ";", "\t", "|")
HEAD_BYTES: Final = 64 << 10
ENCODINGS: Final = ("utf8", "latin1")
_DECIMAL_COMMA: Final = re.compile(r"(?:^|[;\t|])-?\d+,\d+(?=[;\t|\r\n]|$)", re.MULTILINE)


def read(path: Path) -> pa.Table:
    """Return a file's columns, typed as they look; it must fit into memory about twice.

    Raises:
        HistoryError: it is not there, empty, or no table.
    """
    try:
        table = pq.read_table(path) if path.suffix.lower() in PARQUET else _read_csv(path)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise HistoryError(f"{path} cannot be read as a table: {error}") from None
    if not len(table):
        raise HistoryError(f"{path} has a header and no row")
    if len(set(table.column_names)) != table.num_columns:
        raise HistoryError(f"{path} has two columns of the same name: rename one")
    return table


def sum_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        HistoryError: it cannot be read.
    """
    try:
        with path.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except OSError as error:
        raise HistoryError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_csv(path: Path) -> pa.Table:
    head = _head(path)
    first = head.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    comma = separator != "," and bool(_DECIMAL_COMMA.search(head))
    parse = pa_csv.ParseOptions(delimiter=separator)
    convert = pa_csv.ConvertOptions(decimal_point="," if comma else ".", strings_can_be_null=True)
    for encoding in ENCODINGS:
        options = pa_csv.ReadOptions(encoding=encoding)
        try:
            table = pa_csv.read_csv(path, options, parse, convert)
            _ = table.column_names  # Python decodes these, and only now
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            foreign = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error)
            if not foreign or encoding == ENCODINGS[-1]:
                raise
        else:
            return table
    raise AssertionError  # the last encoding raises


def _head(path: Path) -> str:
    with path.open("rb") as plain:
        data = gzip.GzipFile(fileobj=plain) if path.suffix.lower() == ".gz" else plain
        return data.read(HEAD_BYTES).decode("latin1")
