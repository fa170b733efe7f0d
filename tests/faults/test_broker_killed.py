"""`kill -9` of the machines' broker: what the agent had acknowledged stays, once.

What such a broker had acknowledged and not saved is gone with it; what it had delivered and not
saved as delivered it delivers again. Both are its own doing: they are counted apart and said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from foreshock_wire.model import Model
from tests.faults.lab import Lab, in_turn, uninterrupted
from tests.faults.machines import COUNT, METER, keys

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("mosquitto")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "lab", ["", "persistence false"], ids=["it saves", "it saves nothing"], indirect=True
)
def test_what_the_agent_acknowledged_outlives_its_broker(lab: Lab, faults: int) -> None:
    with lab:
        lab.local.restart()  # so that the session is saved at least once
        lab.disturb(ways(lab), faults)
        ledger = lab.drain()
        published = set(keys(lab.plant.sent))
        assert set(lab.arrived) == {one for one in ledger.readings if one[0].startswith("pump")}
        assert set(lab.arrived.values()) == {1}
        assert set(lab.arrived) <= published
        acknowledged = lab.cable.heard.acknowledged
        assert {key for key in keys(acknowledged) if key[0] != "end"} <= set(lab.arrived)
        counted = {float(payload) for topic, payload in acknowledged if topic.endswith(COUNT)}
        assert counted <= set(lab.metered(COUNT))
        tell(lab, published)
        calm = uninterrupted(lab.folder / "calm", lab.model, as_messages(lab))
        lab.tally.scores = lab.check_scores({Model.load(lab.model).sha256: calm})


def ways(lab: Lab) -> dict[str, Callable[[], object]]:
    """Return how the broker dies: alone, with the agent, and again while it is being heard."""

    def together() -> None:
        lab.kill_broker()
        lab.agent.kill()
        lab.check()
        lab.local.start()
        lab.agent.start()

    def agent_after_broker() -> None:
        lab.kill_broker()
        lab.local.start()
        lab.load()
        lab.restart()

    return {
        "broker killed": in_turn(lab.kill_broker, lab.local.start),
        "broker and agent killed": together,
        "broker killed, then the agent": agent_after_broker,
    }


def tell(lab: Lab, published: set[tuple[str, str, int]]) -> None:
    """Count what the broker did by itself."""
    tally = lab.tally
    tally.readings = len(lab.rows)
    values = {float(payload) for topic, payload in lab.plant.sent if topic.endswith(COUNT)}
    tally.brokers_loss = len(published - set(lab.arrived)) + len(values - set(lab.metered(COUNT)))
    tally.brokers_repeats = lab.metered(COUNT).total() - len(lab.metered(COUNT))


def as_messages(lab: Lab) -> list[tuple[str, bytes]]:
    """Return what was stored, in its order, as messages of one reading each."""
    return [
        (
            f"plant/{row['machine']}/sample",
            json.dumps({"t": row["time_ns"], row["channel"]: row["value"]}).encode(),
        )
        for row in lab.rows
        if row["machine"] != METER
    ]
