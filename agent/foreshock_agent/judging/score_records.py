"""A score as it is stored, and as local screens are told it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from foreshock_agent.judging.scoring import RULE
from foreshock_agent.store.records import ScoreRow

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


def message_of(score: Score) -> dict[str, Any]:
    """Return the fields of a `foreshock_wire.messages.Score`; for JSON as they are.

    Of limits' scores it tells neither a margin nor a model. A plain dict, since every window pays
    for it; a test reads it back as the message.
    """
    by_model = score.model != RULE
    return {
        "v": 1,
        "machine": score.due.machine,
        "time_ns": score.due.window.end_ns,
        "probability": _told(score.probability),
        "novelty": _told(score.novelty),
        "margin": _told(score.margin) if by_model else None,
        "model": score.model if by_model else None,
    }


def _told(value: float) -> float | None:
    """Return what JSON can say of a figure."""
    return value if math.isfinite(value) else None
