"""Many readings a message in JSON, as columns or as rows.

`{"t": [1704067200000000000, …], "temperature": [61.2, …], …}`, where null means no reading, or
`[{"t": 1704067200000000000, "temperature": 61.2, …}, …]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foreshock_agent.sources.base import (
    RejectedMessageError,
    load_json,
    number,
    row_of,
)
from foreshock_rules.readings import Rejected

if TYPE_CHECKING:
    from foreshock_agent.intake.columns import Columns
    from foreshock_agent.sources.base import TopicMatch


def decode(match: TopicMatch, payload: bytes, received_ns: int, into: Columns) -> bool:  # noqa: ARG001 - an adapter's shape
    """Take every reading; one without a usable time of its own is refused, not its neighbours.

    Raises:
        RejectedMessageError: neither shape, columns of different lengths, or no channel at all.
    """
    body = load_json(payload)
    if isinstance(body, dict):
        _take_columns(match, body, into)
    elif isinstance(body, list) and body and all(isinstance(row, dict) for row in body):
        _take_rows(match, body, into)
    else:
        raise RejectedMessageError(
            Rejected.MALFORMED, "neither an object of columns nor a list of objects"
        )
    return True


def _take_columns(match: TopicMatch, body: dict[str, Any], into: Columns) -> None:
    key = match.settings.time_key or ""
    raw_times = body.pop(key, None)
    if not isinstance(raw_times, list):
        raise RejectedMessageError(Rejected.BAD_TIME, f"{key!r} is no list of times")
    wanted = match.settings.channels or tuple(body)
    columns = {name: body[name] for name in wanted if name in body}
    for name, column in columns.items():
        if not isinstance(column, list) or len(column) != len(raw_times):
            raise RejectedMessageError(
                Rejected.MALFORMED, f"{name!r} is no list of {len(raw_times)} numbers"
            )
    if not columns or not raw_times:
        raise RejectedMessageError(Rejected.MALFORMED, "the object holds no reading")
    times_ns = match.times_ns(raw_times)
    series = [(name, *_present(times_ns, column)) for name, column in columns.items()]
    if not any(values for _, _, values in series):
        raise RejectedMessageError(Rejected.MALFORMED, "all columns are null")
    for name, times, values in series:
        into.add_series(match.tracks[name], times, values)


def _present(times_ns: list[int], column: list[Any]) -> tuple[list[int], list[float]]:
    if set(map(type, column)) == {float}:
        return times_ns, column
    pairs = [(t, number(raw)) for t, raw in zip(times_ns, column, strict=True) if raw is not None]
    return [time_ns for time_ns, _ in pairs], [value for _, value in pairs]


def _take_rows(match: TopicMatch, body: list[dict[str, Any]], into: Columns) -> None:
    key = match.settings.time_key or ""
    times_ns = match.times_ns([row.pop(key, None) for row in body])
    rows = [row_of(match, row) for row in body]
    if not any(rows):
        raise RejectedMessageError(Rejected.MALFORMED, "no row holds a channel")
    for time_ns, row in zip(times_ns, rows, strict=True):
        into.add_row(match.tracks, time_ns, row)
