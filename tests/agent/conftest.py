"""One small model and one broker for the tests of the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock.brokers import make_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock.brokers import Broker


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """Return a trained model: temperature and pressure, 8 slots of a minute, stride 2."""
    return _model(seed=1)


@pytest.fixture(scope="session")
def other_model_bytes() -> bytes:
    """Return another model of the same shape."""
    return _model(seed=2)


def _model(seed: int) -> bytes:
    from foreshock_converter.sample import CHANNELS, tiny_model  # noqa: PLC0415 - imports XGBoost

    return tiny_model(CHANNELS[:2], length=8, stride=2, period_s=60.0, seed=seed)


@pytest.fixture
def local(tmp_path: Path, mosquitto_binary: str) -> Iterator[Broker]:
    """Yield a running Mosquitto beside the machines."""
    assert mosquitto_binary
    with make_broker("mosquitto", tmp_path / "local-broker") as broker:
        yield broker


@pytest.fixture
def cloud(tmp_path: Path, mosquitto_binary: str) -> Iterator[Broker]:
    """Yield a running Mosquitto in the centre."""
    assert mosquitto_binary
    with make_broker("mosquitto", tmp_path / "cloud-broker") as broker:
        yield broker
