"""Rows in their split -> train, validation and test as Parquet and CSV, with a manifest.

A folder appears whole or not at all: everything is written beside it, and it is renamed last. The
same rows give the same bytes, so that the sums in the manifest can be compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from foreshock_trainer.datasets.base import DataError, Part
from foreshock_trainer.splits import refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataSet, Sheet

MANIFEST: Final = "manifest.json"
PARTS: Final = (Part.TRAIN, Part.VALIDATION, Part.TEST)
FORMATS: Final = ("parquet", "csv")
CHUNK_BYTES: Final = 1 << 20


def export(
    sheet: Sheet,
    out: Path,
    about: Mapping[str, Any],
    progress: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Write every part of `sheet` below `out`, and return the manifest.

    Args:
        sheet: the rows.
        out: a folder that is not there yet.
        about: where the rows come from, for the manifest.
        progress: told the name of each file that is written.

    Raises:
        DataError: `out` exists, cannot be written, or a part would be empty.
        SplitError: the split is by group, and one stands in two parts.
    """
    if out.exists():
        raise DataError(f"{out} is already there: choose another --out")
    _refuse(sheet)
    beside = out.with_name(f".{out.name}.new")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        files = {part: _write(sheet, part, beside, progress) for part in PARTS}
        manifest = {**about, **_described(sheet), "files": files}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        _sync(beside)
        beside.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}") from None
    return manifest


def about(entry: DataSet, subset: str, seed: int) -> dict[str, Any]:
    """Return what a manifest says of an entry of the registry: origin, licence, sums."""
    files = entry.files_of(subset or None)
    return {
        "data_set": entry.name,
        "subset": subset,
        "title": entry.title,
        "origin": entry.page,
        "licence": entry.licence,
        "protocol": entry.protocol,
        "seed": seed,
        "sources": [
            {"name": f.name, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in files
        ],
    }


def _refuse(sheet: Sheet) -> None:
    if empty := [str(part) for part in PARTS if not (sheet.part == part).any()]:
        raise DataError(f"no row is for {' or '.join(empty)}: there is too little to split")
    if sheet.group and sheet.by_group:
        groups = sheet.columns[sheet.group]
        refuse_overlap(*(map(str, np.unique(groups[sheet.part == part])) for part in PARTS))


def _described(sheet: Sheet) -> dict[str, Any]:
    return {
        "columns": {name: str(values.dtype) for name, values in sheet.columns.items()},
        "label": sheet.answers[0],
        "answers": list(sheet.answers),
        "group": sheet.group,
        "time": sheet.time,
        "split": sheet.rule,
        "embargo": sheet.embargo,
        "counts": {part: _counts(sheet, sheet.part == part) for part in PARTS},
        "left_out": int(np.count_nonzero(sheet.part == Part.NONE)),
    }


def _counts(sheet: Sheet, rows: Any) -> dict[str, int]:  # noqa: ANN401 - bool[N]
    label = sheet.columns[sheet.answers[0]][rows]
    counts = {"rows": int(np.count_nonzero(rows)), "positives": int(np.count_nonzero(label))}
    if sheet.group:
        counts["groups"] = len(np.unique(sheet.columns[sheet.group][rows]))
    return counts


def _write(
    sheet: Sheet, part: Part, folder: Path, progress: Callable[[str], object]
) -> list[dict[str, Any]]:
    rows = sheet.part == part
    table = pa.table({name: values[rows] for name, values in sheet.columns.items()})
    files = []
    for kind in FORMATS:
        path = folder / f"{part}.{kind}"
        if kind == "parquet":
            pq.write_table(table, path, compression="zstd")
        else:
            pa_csv.write_csv(table, path)
        progress(path.name)
        files.append({"name": path.name, "size_bytes": path.stat().st_size, "sha256": _sum(path)})
    return files


def _sum(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as data:
        for chunk in iter(lambda: data.read(CHUNK_BYTES), b""):
            total.update(chunk)
    return total.hexdigest()


def _sync(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
