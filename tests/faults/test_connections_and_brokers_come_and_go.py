"""Brokers restarted in order, cables cut, frozen and half open, on both sides: it costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_wire.model import Model
from tests.agent.rig import get, health_port, online, wait_for
from tests.faults.lab import Lab, check_arrived, in_turn, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("mosquitto")


@pytest.mark.timeout(3600)
def test_whatever_happens_to_the_connections_all_arrives_once(lab: Lab, faults: int) -> None:
    with lab:
        lab.disturb(ways(lab), faults)
        wait_for(lambda: online(lab.watcher), "the agent's birth")
        lab.drain()
        check_arrived(lab)
        calm = uninterrupted(lab.folder / "calm", lab.model, lab.plant.sent)
        lab.tally.scores = lab.check_scores({Model.load(lab.model).sha256: calm})


def ways(lab: Lab) -> dict[str, Callable[[], object]]:
    """Return what is done on the machines' side; on the cloud's something else at the same time."""

    port = health_port(lab.watcher)

    def until_reported() -> None:
        lab.until_noticed()
        status, said = get(port, "/healthz")
        assert (status, "the local broker does not answer: 127.0.0.1:" in said) == (503, True), said

    def freeze_cable() -> None:
        lab.uplink.desert()
        lab.cable.freeze()
        until_reported()
        lab.cable.thaw()

    def desert() -> None:
        lab.uplink.cut()
        lab.cable.desert()
        lab.until_noticed()

    def freeze_broker() -> None:
        lab.local.freeze()
        until_reported()
        lab.cloud.restart()
        lab.local.thaw()

    def restart_broker() -> None:
        lab.uplink.freeze()
        lab.local.restart()
        lab.uplink.thaw()

    return {
        "cable cut": in_turn(lab.cable.cut, lab.cloud.restart),
        "cable frozen": freeze_cable,
        "connection half open": desert,
        "broker frozen": freeze_broker,
        "broker restarted in order": restart_broker,
    }
