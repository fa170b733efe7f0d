"""A table's columns -> what each probably is (pure): a proposal that a person reads and corrects.

What says how a life ends is never a sensor, whatever it is called: it is told, and left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_trainer.datasets.channels import CONSTANT_SHARE
from foreshock_trainer.history.lives import id_of
from foreshock_trainer.history.plan import Cut, FailureKind, FailureRule, Sensor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

MACHINES: Final = (
    *("machine", "machineid", "machinename", "unit", "unitid", "unitnumber", "unitnr", "asset"),
    *(
        "assetid",
        "device",
        "deviceid",
        "equipment",
        "equipmentid",
        "engine",
        "engineid",
        "engineno",
    ),
    *("turbine", "turbineid", "pump", "pumpid", "motor", "motorid", "vehicle", "vehicleid"),
    *("serial", "serialnumber", "id"),
)
TIMES: Final = (
    *("time", "timestamp", "datetime", "date", "ts", "eventtime", "timestamputc", "cycle"),
    *("cycles", "timeincycles", "timecycles", "epoch", "step", "t", "hour", "day"),
)
FLAGS: Final = (
    *("failure", "failed", "fail", "machinefailure", "isfailure", "broken", "breakdown", "fault"),
    *("machinestatus", "status", "state", "label", "target", "down", "y"),
)
REMAINING: Final = (
    *("rul", "remainingusefullife", "cyclesleft", "hoursleft", "ttf", "timetofailure", "remaining"),
)
ANSWERS: Final = re.compile(
    r"fail.*|.*failure.*|.*(cycles|hours|days)left|timetofail.*|remaining.*|willfail.*|isdown"
)
"""With `FLAGS` and `REMAINING`: names, without other signs, of what tells the outcome."""
ROW_NUMBERS: Final = frozenset({"", "index", "row", "rownumber", "unnamed0", "udi", "level0"})
NORMAL: Final = frozenset({"0", "false", "no", "none", "normal", "ok", "healthy", "running", "up"})
RECOVERING: Final = frozenset({"recovering", "recovery", "maintenance", "service", "idle", "off"})
MOST_STATES: Final = 6
RARE: Final = 0.5
_UNIT: Final = re.compile(r"^(?P<name>.*?)\s*[\[(](?P<unit>[^\])]{1,16})[\])]\s*$")
NICE_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
NICE_H: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 18, 24, 30, 36, 48)
USUAL_HORIZON_H: Final = 48.0
SLOTS_AHEAD: Final = 96
"""Slots of a window's grid in the horizon: finer sampling costs time and tells little."""
LIFE_SHARE: Final = 1 / 6
"""A horizon longer than this share of a usual life would call half of it a failure."""
LONGEST: Final = 48
SHORTEST: Final = 8


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is no sensor, and why."""

    column: str
    why: str


def machine_column(table: pa.Table) -> str | None:
    """Return the column that names the machine, by its name; None without one."""
    return _first(table, MACHINES)


def time_column(table: pa.Table) -> str | None:
    """Return the column that tells the time, by its name or else by its type."""
    named = _first(table, TIMES)
    if named is not None:
        return named
    return next((f.name for f in table.schema if pa.types.is_temporal(f.type)), None)


def failure_rule(table: pa.Table) -> FailureRule | None:
    """Return how the table tells of failures: a state, or a count down to zero; None if not."""
    for name in _named(table, FLAGS):
        if values := down_values(table[name]):
            return FailureRule(FailureKind.FLAG, name, values)
    left = _first(table, REMAINING)
    if left is not None and _is_number(table[left].type):
        return FailureRule(FailureKind.REMAINING, left)
    return None


def down_values(column: pa.ChunkedArray) -> tuple[str, ...]:
    """Return the values of a state column that mean down, () when it is no state."""
    kinds = pc.value_counts(column.cast(pa.string()).drop_null()).to_pylist()
    if not 1 < len(kinds) <= MOST_STATES:
        return ()
    rows = sum(kind["counts"] for kind in kinds)
    return tuple(
        kind["values"]
        for kind in kinds
        if kind["values"].lower() not in NORMAL | RECOVERING and kind["counts"] < RARE * rows
    )


def sensors(
    table: pa.Table, used: Collection[str], without: Collection[str] = ()
) -> tuple[tuple[Sensor, ...], tuple[LeftOut, ...]]:
    """Return the columns that are sensors, and those that are not, each with the reason.

    Args:
        table: the columns.
        used: columns that are something else already.
        without: columns that a person left out.
    """
    chosen: list[Sensor] = []
    left: list[LeftOut] = []
    for name in table.column_names:
        if name in used:
            continue
        if why := "you left it out" if name in without else _no_sensor(name, table[name]):
            left.append(LeftOut(name, why))
        else:
            chosen.append(Sensor(name, channel_of(name, {sensor.id for sensor in chosen})))
    return tuple(chosen), tuple(left)


def channel_of(name: str, taken: Collection[str]) -> str:
    """Return the channel ID:UNIT that a column becomes; brackets in its name hold the unit."""
    found = _UNIT.match(name)
    label, unit = (found["name"], found["unit"]) if found else (name, "1")
    base = id_of(label).replace("-", "_") or "sensor"
    one = next(i for i in (base, *(f"{base}_{n}" for n in range(2, 99))) if i not in taken)
    return f"{one}:{unit.replace(':', '/')}"


def cut(step_s: float, lives_s: Sequence[float], horizon_h: float | None = None) -> Cut:
    """Return how windows are cut: by the usual step, and how long machines live until they fail."""
    life_h = float(np.median(lives_s)) / 3600 if len(lives_s) else USUAL_HORIZON_H / LIFE_SHARE
    horizon_h = horizon_h or _nice(min(USUAL_HORIZON_H, life_h * LIFE_SHARE), NICE_H)
    period_s = max(step_s, _nice(horizon_h * 3600 / SLOTS_AHEAD, NICE_S))
    if period_s < 2 * step_s:
        period_s = step_s
    length = int(np.clip(life_h * 3600 / period_s / 8, SHORTEST, LONGEST))
    return Cut(period_s, length, max(1, length // 12), horizon_h)


def _nice(value: float, steps: Sequence[float]) -> float:
    return max((step for step in steps if step <= value), default=value)


def _first(table: pa.Table, names: Sequence[str]) -> str | None:
    return next(_named(table, names), None)


def _named(table: pa.Table, names: Sequence[str]) -> Iterator[str]:
    """Yield the table's columns that have one of the names, in the order of the names."""
    there = {_plain(name): name for name in reversed(table.column_names)}
    return (there[name] for name in names if name in there)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _no_sensor(name: str, column: pa.ChunkedArray) -> str:
    if _plain(name) in ROW_NUMBERS:
        return "it numbers the rows"
    if _plain(name) in {*FLAGS, *REMAINING} or ANSWERS.fullmatch(_plain(name)):
        return "by its name it tells how a life ends, and a model may not read that"
    if not _is_number(column.type):
        return f"it holds {column.type}, not numbers"
    if column.null_count == len(column):
        return "it is empty"
    kinds = pc.value_counts(column)
    most = max(kinds.field("counts").to_pylist(), default=0)
    return "it hardly ever changes" if most >= CONSTANT_SHARE * len(column) else ""


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )
