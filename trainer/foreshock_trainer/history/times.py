"""Times as tables tell them -> UTC nanoseconds; a format is guessed only where it is certain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_trainer.history.plan import HistoryError, TimeFormat, TimeKind

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

UNREADABLE: Final = np.iinfo(np.int64).min
COUNTER_START_NS: Final = 1_704_067_200_000_000_000
"""2024-01-01T00:00:00Z, where a counter's step 0 is put."""
HOUR_NS: Final = 3_600_000_000_000
SAMPLE: Final = 20_000
EPOCHS: Final = ((1e8, 10**9, "s"), (1e11, 10**6, "ms"), (1e14, 10**3, "us"), (1e17, 1, "ns"))
"""From which value on a number is an epoch in so many nanoseconds (1973 in that unit)."""
MOSTLY: Final = 0.99
_ZERO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCKS: Final = ("%H:%M:%S", "%H:%M")
_DAYS: Final = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y%m%d")
PATTERNS: Final = tuple(f"{day} {clock}" for day in _DAYS for clock in _CLOCKS) + _DAYS


def guess(name: str, column: pa.ChunkedArray, zone: str = "UTC") -> TimeFormat:
    """Return how a column tells the time.

    Raises:
        HistoryError: it does not, or in a way that can be read as day or as month first.
    """
    if pa.types.is_temporal(column.type):
        return TimeFormat(TimeKind.ISO, zone=zone)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _guess_number(column)
    if not _is_text(column.type):
        raise HistoryError(f"column {name!r} holds {column.type}, which is no time")
    texts = column.drop_null().slice(0, SAMPLE)
    if _share(_iso(texts, zone)) >= MOSTLY:
        return TimeFormat(TimeKind.ISO, zone=zone)
    return _guess_pattern(name, texts, zone)


def given(pattern: str, zone: str, step_s: float) -> TimeFormat:
    """Return the format that a person named: iso, epoch_s|ms|us|ns, counter, or strptime's.

    Raises:
        HistoryError: it is none.
    """
    units = {f"epoch_{name}": unit for _, unit, name in EPOCHS}
    if pattern in units:
        return TimeFormat(TimeKind.EPOCH, unit_ns=units[pattern])
    if pattern == TimeKind.ISO:
        return TimeFormat(TimeKind.ISO, zone=zone)
    if pattern == TimeKind.COUNTER:
        return TimeFormat(TimeKind.COUNTER, unit_ns=round(step_s * 1e9))
    if "%" not in pattern:
        raise HistoryError(
            f"time format {pattern!r} is none of iso, {', '.join(units)}, counter, or a pattern "
            "like %d/%m/%Y %H:%M"
        )
    return TimeFormat(TimeKind.PATTERN, pattern, zone)


def utc_ns(column: pa.ChunkedArray, how: TimeFormat) -> Int64:
    """Return UTC nanoseconds int64[N], `UNREADABLE` where a cell is no time.

    Raises:
        HistoryError: the time zone is not known here, or the column is not of this kind.
    """
    try:
        if how.kind in {TimeKind.EPOCH, TimeKind.COUNTER}:
            return _from_number(column, how)
        if pa.types.is_temporal(column.type):
            return _from_stamps(column, how.zone)
        texts = column.cast(pa.string())
        if how.kind is TimeKind.ISO:
            return _iso(texts, how.zone)
        stamps = pc.strptime(texts, format=how.pattern, unit="us", error_is_null=True)
        return _from_stamps(stamps, how.zone)
    except pa.ArrowException as error:
        raise HistoryError(f"the times cannot be read as {how.kind}: {error}") from None


def _guess_number(column: pa.ChunkedArray) -> TimeFormat:
    middle = abs(float(pc.approximate_median(column).as_py() or 0))
    for least, unit, _ in reversed(EPOCHS):
        if middle >= least:
            return TimeFormat(TimeKind.EPOCH, unit_ns=unit)
    return TimeFormat(TimeKind.COUNTER, unit_ns=HOUR_NS)


def _guess_pattern(name: str, texts: pa.ChunkedArray, zone: str) -> TimeFormat:
    found = {}
    for pattern in PATTERNS:
        stamps = pc.strptime(texts, format=pattern, unit="us", error_is_null=True)
        if len(texts) and stamps.null_count <= (1 - MOSTLY) * len(texts):
            found[pattern] = stamps
    if not found:
        example = texts[0].as_py() if len(texts) else ""
        raise HistoryError(
            f"column {name!r} holds {example!r}, which is no time that is known here: choose "
            "another column with --time, or say how to read it with --time-format"
        )
    first, *others = found
    if any(not found[first].equals(found[other]) for other in others):
        raise HistoryError(
            f"column {name!r} ({texts[0].as_py()!r}) reads as {' and as '.join(found)}: say which "
            "with --time-format"
        )
    return TimeFormat(TimeKind.PATTERN, first, zone)


def _from_number(column: pa.ChunkedArray, how: TimeFormat) -> Int64:
    values = column.cast(pa.float64()) if not pa.types.is_integer(column.type) else column
    steps = values.to_numpy()
    start = COUNTER_START_NS if how.kind is TimeKind.COUNTER else 0
    if steps.dtype.kind == "i":
        return np.asarray(start + steps * how.unit_ns, np.int64)
    known = np.isfinite(steps)
    whole = np.where(known, steps, 0.0) * how.unit_ns
    return np.where(known, start + whole.astype(np.int64), UNREADABLE)


def _iso(texts: pa.ChunkedArray, zone: str) -> Int64:
    """Read RFC 3339, with an offset or in `zone`, each cell by itself where they are not alike."""
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            return _from_stamps(texts.cast(kind), zone)
        except pa.ArrowInvalid:
            continue
    home = _zone(zone)
    return np.array([_one(text, home) for text in texts.to_pylist()], np.int64)


def _one(text: str | None, home: ZoneInfo) -> int:
    try:
        moment = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return UNREADABLE
    moment = moment if moment.tzinfo else moment.replace(tzinfo=home)
    return (moment - _ZERO) // timedelta(microseconds=1) * 1000


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise HistoryError(
            f"time zone {name!r} is not known here: try Europe/Berlin or UTC"
        ) from None


def _from_stamps(stamps: pa.ChunkedArray, zone: str) -> Int64:
    if pa.types.is_date(stamps.type):
        stamps = stamps.cast(pa.timestamp("us"))
    if getattr(stamps.type, "tz", None) is None:
        _zone(zone)
        # Twice a year a local clock is ambiguous or skips: the earlier reading is taken.
        stamps = pc.assume_timezone(stamps, zone, ambiguous="earliest", nonexistent="latest")
    ns = stamps.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    return np.asarray(pc.fill_null(ns, UNREADABLE).to_numpy(), np.int64)


def _share(times: Int64) -> float:
    return float(np.mean(times != UNREADABLE)) if len(times) else 0.0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
