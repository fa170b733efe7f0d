"""A score as it is stored, and as local screens are told it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from foreshock_agent.judging.scoring import RULE
from foreshock_agent.store.records import ScoreRow
from foreshock_wire.messages import Score as ScoreMessage

if TYPE_CHECKING:
    from foreshock_agent.judging.scoring import Score


def row_of(score: Score, now_ns: int) -> ScoreRow:
    """Return what the store keeps of a score that was made at `now_ns`."""
    return ScoreRow(
        score.due.machine,
        score.due.window.end_ns,
        now_ns,
        score.model,
        score.margin,
        score.probability,
        score.novelty,
    )


def message_of(score: Score) -> ScoreMessage:
    """Return the message; of limits' scores it tells neither a margin nor a model."""
    return ScoreMessage(
        machine=score.due.machine,
        time_ns=score.due.window.end_ns,
        probability=_told(score.probability),
        novelty=_told(score.novelty),
        margin=None if score.model == RULE else _told(score.margin),
        model=None if score.model == RULE else score.model,
    )


def _told(value: float) -> float | None:
    """Return what JSON can say of a figure."""
    return value if math.isfinite(value) else None
