"""The scores that are still stored, to hold others against them; what the lake has is deleted."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from foreshock_agent.store.seals import SCORES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from foreshock_agent.judging.scoring import Score

SAID: Final = ("margin", "probability", "novelty")
_ROW: Final = np.dtype(
    [("machine", "i4"), ("model", "i4"), ("time_ns", "i8"), *((name, "f8") for name in SAID)]
)


class Check(StrEnum):
    """What the stored score of a window says to another one of it."""

    EQUAL = "equal"
    DIFFERS = "differs"
    GONE = "gone"
    OTHER_MODEL = "other_model"
    PARTIAL = "partial"


class StoredScores:
    """Scores by machine and window end; some 40 bytes each, however many wait for the uplink."""

    def __init__(self, rows: Iterable[tuple[str, int, str, float, float, float]]) -> None:
        """Take rows of (machine, window end, model, and the figures of `SAID`)."""
        self._machines: dict[str, int] = {}
        self._models: dict[str, int] = {}
        numbered = (
            (_number(machine, self._machines), _number(model, self._models), time_ns, *said)
            for machine, time_ns, model, *said in rows
        )
        found = np.fromiter(numbered, _ROW)
        self._rows = found[np.lexsort((found["time_ns"], found["machine"]))]
        self._bounds = np.searchsorted(self._rows["machine"], np.arange(len(self._machines) + 1))
        self._asked = np.zeros(len(self._rows), np.bool_)

    @classmethod
    def read(cls, db: sqlite3.Connection, from_ns: int, to_ns: int) -> Self:
        """Read the intact ones of windows that end after `from_ns`, up to `to_ns`."""
        rows = SCORES.read(db, "WHERE time_ns > ? AND time_ns <= ?", (from_ns, to_ns))
        return cls(
            (machine, time_ns, model, *(np.nan if value is None else value for value in said))
            for _, _, machine, time_ns, _, model, *said in (r.values for r in rows if r.intact)
        )

    def check(self, score: Score) -> Check:
        """Hold a score against the stored one of the same window, bit for bit."""
        at = self._place(score.due.machine, score.due.window.end_ns)
        if at is None:
            return Check.GONE
        self._asked[at] = True
        row = self._rows[at]
        if self._models.get(score.model) != row["model"]:
            return Check.OTHER_MODEL
        ours = np.array([getattr(score, name) for name in SAID])
        theirs = np.array([row[name] for name in SAID])
        return Check.EQUAL if np.array_equal(ours, theirs, equal_nan=True) else Check.DIFFERS

    def _place(self, machine: str, end_ns: int) -> int | None:
        number = self._machines.get(machine)
        if number is None:
            return None
        first, last = self._bounds[number : number + 2].tolist()
        at = first + int(np.searchsorted(self._rows["time_ns"][first:last], end_ns))
        return at if at < last and self._rows["time_ns"][at] == end_ns else None

    def never_asked(self, model: str, of: Callable[[str, int], bool]) -> int:
        """Return how many scores by a model, `of` (machine, window end), nothing was held against.

        Another model may have cut other windows.
        """
        names = list(self._machines)
        rest = self._rows[~self._asked & (self._rows["model"] == self._models.get(model, -1))]
        pairs = zip(rest["machine"].tolist(), rest["time_ns"].tolist(), strict=True)
        return sum(of(names[machine], end_ns) for machine, end_ns in pairs)


def _number(name: str, numbers: dict[str, int]) -> int:
    return numbers.setdefault(name, len(numbers))
