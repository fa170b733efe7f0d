"""Stored scores against the same readings scored offline: equal, or every difference is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.sample import tiny_model
from foreshock_trainer.ingest import Ingest, Message
from foreshock_trainer.offline import Scored, compare, score_offline, stored_scores
from foreshock_trainer.playback import EdgeSettings
from foreshock_wire.batch import Readings, Scores
from foreshock_wire.model import Model
from foreshock_wire.topics import Gateway, Stream, uplink

if TYPE_CHECKING:
    from foreshock_trainer.lake import Lake

PERIOD_NS = 1_800_000_000_000
AT = Gateway("works", "gw-1")
MACHINES = ["fan-1", "pump-1"]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(tiny_model(length=8, stride=2))


def readings(model: Model) -> Readings:
    rng = np.random.default_rng(0)
    step, machine, channel = (
        axis.reshape(-1) for axis in np.indices((40, 2, len(model.spec.channels)))
    )
    return Readings(
        epoch="e1",
        first_seq=1,
        machines=MACHINES,
        channels=list(model.spec.channel_ids),
        machine=machine.astype(np.uint16),
        channel=channel.astype(np.uint16),
        time_ns=step * PERIOD_NS,
        received_ns=step * PERIOD_NS,
        value=(50 + 10 * channel + rng.normal(size=len(step))).astype(np.float32),
        flags=np.zeros(len(step), np.uint8),
    )


def upload(scored: Scored, model: str) -> Scores:
    return Scores(
        epoch="e1",
        first_seq=1,
        machines=list(scored.machines),
        models=[model],
        machine=scored.machine.astype(np.uint16),
        model=np.zeros(len(scored), np.uint16),
        time_ns=scored.end_ns,
        scored_ns=scored.end_ns,
        probability=scored.probability,
        novelty=np.zeros(len(scored), np.float32),
    )


def test_what_a_gateway_stored_is_what_is_scored_again(lake: Lake, model: Model) -> None:
    ingest = Ingest(lake)
    ingest.take([Message(uplink(AT, Stream.READINGS), readings(model).to_bytes(), 0)])
    offline = score_offline(lake, model, MACHINES, EdgeSettings())
    batch = upload(offline, model.sha256)
    ingest.take([Message(uplink(AT, Stream.SCORES), batch.to_bytes(), 0)])

    margins = dict(zip(offline.keys(), offline.margin.tolist(), strict=True))
    stored = stored_scores(lake, model.sha256, MACHINES, margins)
    found = compare(offline, stored, model.spec)
    # 40 steps end 20 windows, less the one whose end no reading has passed and those too empty.
    assert found.windows == found.stored == found.margins == len(offline) > 30
    assert found.problems() == []

    other = stored_scores(lake, "0" * 64, MACHINES, {})
    assert len(other) == 0
    assert other.other_model == len(offline)


@pytest.fixture
def side(model: Model) -> Scored:
    """Two machines with three windows each, around the threshold."""
    margin = model.spec.threshold_margin + np.array([-1, 0.5, 1, -2, -0.5, 2], np.float32)
    return Scored(
        ("a", "b"),
        np.repeat([0, 1], 3),
        np.tile([10, 20, 30], 2),
        (1 / (1 + np.exp(-margin))).astype(np.float32),
        margin.astype(np.float32),
    )


def test_equal_sides_have_no_problem_and_empty_ones_prove_nothing(
    side: Scored, model: Model
) -> None:
    assert compare(side, side, model.spec).problems() == []
    nobody = np.zeros(6, np.bool_)
    assert compare(taken(side, nobody), taken(side, nobody), model.spec).problems() == [
        "no window was scored"
    ]


def taken(side: Scored, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Scored:
    return replace(
        side,
        machine=side.machine[rows],
        end_ns=side.end_ns[rows],
        probability=side.probability[rows],
        margin=side.margin[rows],
    )


def test_windows_without_a_score_and_scores_without_a_window_are_counted(
    side: Scored, model: Model
) -> None:
    first, last = np.arange(6) < 5, np.arange(6) > 1
    found = compare(taken(side, first), taken(side, last), model.spec)
    assert (found.missing, found.extra, found.flips) == (2, 1, 0)
    assert len(found.problems()) == 2


def test_one_bit_of_a_margin_or_probability_is_a_difference(side: Scored, model: Model) -> None:
    margin, probability = side.margin.copy(), side.probability.copy()
    margin[1] = np.nextafter(margin[1], np.float32(9))
    probability[4] = np.nextafter(probability[4], np.float32(1))
    found = compare(side, replace(side, margin=margin, probability=probability), model.spec)
    assert (found.unequal_margins, found.unequal_probabilities, found.flips) == (1, 1, 0)
    assert 0 < found.max_abs_probability < 1e-6


def test_another_decision_is_a_flip_with_and_without_a_known_margin(
    side: Scored, model: Model
) -> None:
    margin = side.margin.copy()
    margin[2] = model.spec.threshold_margin - 1
    assert compare(side, replace(side, margin=margin), model.spec).flips == 1
    unknown = np.full(6, np.nan, np.float32)
    probability = side.probability.copy()
    probability[5] = model.spec.threshold / 2
    found = compare(side, replace(side, margin=unknown, probability=probability), model.spec)
    assert found.margins == 0
    assert found.flips >= 1


def test_repeated_rows_and_other_models_are_problems(side: Scored, model: Model) -> None:
    found = compare(side, replace(side, repeated=2, other_model=3), model.spec)
    assert len(found.problems()) == 2
