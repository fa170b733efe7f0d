"""`kill -9` of the agent and of ingest at random moments: nothing lost, nothing double, all equal.

The first half of the kills comes with the uplink away, so that the scores are read where they were
made, margin included; the second half with the uplink there, and ingest is killed too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from foreshock_wire.model import Model
from tests.agent.rig import wait_for
from tests.faults.lab import Lab, check_arrived, in_turn, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

Score = tuple[Any, ...]

pytestmark = pytest.mark.needs("mosquitto")


@pytest.mark.timeout(3600)
def test_killed_under_load_all_is_stored_scored_and_delivered_once(
    lab: Lab, kills: int, other_model_bytes: bytes
) -> None:
    with lab:
        made, models = killed(lab, kills, other_model_bytes)
        check_arrived(lab)
        expected = {
            Model.load(one).sha256: uninterrupted(lab.folder / f"calm-{n}", one, lab.plant.sent)
            for n, one in enumerate(models)
        }
        first = expected[Model.load(lab.model).sha256]
        assert made == beginnings(first, made)
        assert len(made) > 10 * kills
        lab.tally.scores = lab.check_scores(expected)


def killed(lab: Lab, kills: int, other: bytes) -> tuple[list[Score], list[bytes]]:
    """Kill, let all arrive; return the scores made while the uplink was away, and both models."""
    models = [other, lab.model]

    def update() -> None:
        models.reverse()
        lab.kill_in_update(models[1])

    alone = {
        "agent killed": lab.restart,
        "agent killed in its start": lab.kill_in_start,
        "agent killed between commit and PUBACK": lab.kill_unacknowledged,
    }
    updating = {"agent killed in an update": update}
    joined = {
        **updating,
        "agent and ingest killed": in_turn(lab.kill_worker, lab.restart),
        **alone,
    }
    lab.uplink.unplug()
    lab.disturb(alone, kills - kills // 2)
    made = scores_so_far(lab)
    lab.uplink.plug()
    lab.disturb(updating, 1)
    lab.disturb(joined, kills // 2 - 1)
    wait_for(lambda: lab.centre.state in {None, "committed"}, "the last update")
    lab.drain()
    return made, models


def scores_so_far(lab: Lab) -> list[Score]:
    """Return what the agent has scored, read from its database while the uplink is away."""
    lab.load()
    return lab.agent.ledger.scores


def beginnings(whole: Sequence[Score], made: Sequence[Score]) -> list[Score]:
    """Return of each machine's scores as many as it has in `made`."""
    machines = [score[0] for score in made]
    kept: list[Score] = []
    for machine in sorted(set(machines)):
        kept += [one for one in whole if one[0] == machine][: machines.count(machine)]
    return kept
