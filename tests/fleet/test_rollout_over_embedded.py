"""The demo's broker forgets everything when it restarts; a rollout must still end."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import Broker, EmbeddedBroker
from tests.fleet.conftest import EdgeProcess, Fleet, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with EmbeddedBroker(tmp_path / "cloud") as running:
        yield running


def test_a_rollout_ends_although_the_broker_restarts_in_between(
    fleet: Fleet,
    edges: Callable[[str], EdgeProcess],
    broker: Broker,
    model_a: bytes,
    model_b: bytes,
) -> None:
    fleet.serve()
    names = ["gw-1", "gw-2"]
    running = [edges(name) for name in names]
    wait_until(lambda: sorted(fleet.gateways()) == names, "every gateway is known")
    fleet.publish(model_a)
    assert fleet.on_state("rollout", "create", "--wait")["committed"] == names
    running[1].kill()
    broker.kill()
    fleet.publish(model_b)
    fleet.on_state("rollout", "create")
    broker.start()
    running[1].start()
    wait_until(fleet.complete, "the second rollout is complete")
    wanted = hashlib.sha256(model_b).hexdigest()
    assert {one.model for one in fleet.gateways().values()} == {wanted}
