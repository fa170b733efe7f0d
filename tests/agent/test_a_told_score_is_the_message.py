"""What local screens are told of a score is a message of the wire, whatever the score holds."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.judging.score_records import message_of
from foreshock_agent.judging.scoring import RULE, Due, Score
from foreshock_rules.windows import Window
from foreshock_wire.messages import Score as ScoreMessage

FIGURES = st.floats(width=32)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@pytest.mark.parametrize("model", [RULE, "0f" * 32])
@given(st.integers(0, 2**62), FIGURES, FIGURES, FIGURES)
def test_it_is_read_back_whole(
    model: str, end_ns: int, margin: float, probability: float, novelty: float
) -> None:
    due = Due("pump-1", Window(end_ns, np.empty((0, 0), np.float32)), 0)
    told = message_of(Score(due, model, margin, probability, novelty))
    assert set(told) == set(ScoreMessage.model_fields)
    assert ScoreMessage.from_bytes(orjson.dumps(told)) == ScoreMessage(
        machine="pump-1",
        time_ns=end_ns,
        probability=finite(probability),
        novelty=finite(novelty),
        margin=None if model == RULE else finite(margin),
        model=None if model == RULE else model,
    )
