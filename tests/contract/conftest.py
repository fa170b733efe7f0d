"""One suite, every broker: a test that takes `broker` runs on each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import BROKERS, Broker, make_broker
from foreshock_wire.topics import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = [
    pytest.param(kind, marks=[pytest.mark.needs("mosquitto")] if kind == "mosquitto" else [])
    for kind in BROKERS
]


@pytest.fixture(scope="session", params=KINDS)
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """A running broker, shared by tests that use topics of their own (`site`)."""
    with make_broker(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def at(request: pytest.FixtureRequest) -> Gateway:
    """A gateway whose topics no other test uses."""
    site = "".join(c for c in request.node.originalname.lower() if c.isalnum())[:50]
    return Gateway(site, "gw-1")
