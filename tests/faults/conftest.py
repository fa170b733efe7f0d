"""The lab, the models it runs, and how often it is disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agent.conftest import model_bytes, other_model_bytes
from tests.faults.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["model_bytes", "other_model_bytes"]


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    """How often a test kills: `--kills N`."""
    return int(request.config.getoption("--kills") or 20)


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> int:
    """How many disturbances a test makes: `--kills N`; by default enough for every way once."""
    return int(request.config.getoption("--kills") or 5)


@pytest.fixture
def cuts(request: pytest.FixtureRequest) -> int:
    """How often a test cuts the power: `--cuts N`."""
    return int(request.config.getoption("--cuts"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What the dice begin with: `--seed S`."""
    return int(request.config.getoption("--seed"))


@pytest.fixture
def flips(request: pytest.FixtureRequest) -> int:
    """How many databases are damaged: `--flips N`."""
    return int(request.config.getoption("--flips"))


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model_bytes: bytes,
    seed: int,
    say: Callable[[str], None],
) -> Lab:
    """The processes, which run inside `with lab:`; how it went is said at the end of the run.

    A parameter of the fixture is appended to the configuration of the machines' broker.
    """
    extra, client = getattr(request, "param", ""), request.config.getoption("--client")
    return Lab(tmp_path, model_bytes, seed, say, broker_extra=extra, client=str(client))
