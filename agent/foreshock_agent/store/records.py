"""What the store takes and gives, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ScoreRow(NamedTuple):
    """One scored window as it is stored; `model` is a SHA-256 or "rule"."""

    machine: str
    time_ns: int
    scored_ns: int
    model: str
    margin: float
    probability: float
    novelty: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The machines' states as they were when chunk `n` had been written.

    `windows` says by which rules windows were cut; `states` holds, by machine, what
    `machines.py` made of it, nothing for a machine that was first heard later.
    """

    n: int
    windows: str
    states: dict[str, bytes | None]
