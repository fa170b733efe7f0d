"""What is decided about a history file: which column is what, and how it is cut (values only)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from foreshock_trainer.settings import parse_channel
from foreshock_wire.errors import ForeshockError


class HistoryError(ForeshockError):
    """A history that cannot be imported: names the file or column, and the way out."""


class TimeKind(StrEnum):
    """How a column tells the time."""

    ISO = "iso"
    PATTERN = "pattern"
    EPOCH = "epoch"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How a column of times is read.

    `pattern` is strptime's, for `PATTERN`; `zone` holds for stamps that name none; `unit_ns` is one
    step of an `EPOCH` or a `COUNTER`, whose step 0 is 2024-01-01T00:00:00Z.
    """

    kind: TimeKind
    pattern: str = ""
    zone: str = "UTC"
    unit_ns: int = 1


class FailureKind(StrEnum):
    """How the file tells of failures."""

    FLAG = "flag"
    REMAINING = "remaining"
    LIST = "list"
    AT_THE_END = "at_the_end"


@dataclass(frozen=True, slots=True)
class FailureRule:
    """Where failures come from.

    `FLAG`: `column` holds one of `values` while a machine is down; `REMAINING`: `column` counts
    down to 0; `LIST`: `file` has a row each; `AT_THE_END`: every machine's last row is its failure.
    """

    kind: FailureKind
    column: str = ""
    values: tuple[str, ...] = ()
    file: str = ""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A column of the file, and the channel that it becomes (ID:UNIT:ROLE)."""

    column: str
    channel: str

    @property
    def id(self) -> str:
        """The channel's id."""
        return parse_channel(self.channel).id


@dataclass(frozen=True, slots=True)
class Plan:
    """How a history is read: `machine` is a column, or "" where the whole file is `only`'s."""

    machine: str
    only: str
    time: str
    time_format: TimeFormat
    sensors: tuple[Sensor, ...]
    failures: FailureRule
    maintenance: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Cut:
    """How windows are cut from it: as `LearnSettings` has them."""

    period_s: float
    length: int
    stride: int
    horizon_h: float


def fingerprint(plan: Plan, cut: Cut, sums: dict[str, str]) -> str:
    """Return what tells this import from others: the same files read the same way give the same."""
    told = {"plan": plan.as_json(), "cut": asdict(cut), "sums": sums}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
