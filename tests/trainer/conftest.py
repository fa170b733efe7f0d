"""What gateways would send, for every test of the trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.lake import Lake
from foreshock_wire.batch import Readings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR_NS = 3_600_000_000_000


def readings(epoch: str, first_seq: int, count: int) -> Readings:
    """Consecutive readings of two machines; a reading's value is its seq."""
    seq = np.arange(first_seq, first_seq + count)
    return Readings(
        epoch=epoch,
        first_seq=first_seq,
        machines=["pump-1", "pump-2"],
        channels=["temperature", "pressure"],
        machine=(seq % 2).astype(np.uint16),
        channel=(seq // 2 % 2).astype(np.uint16),
        time_ns=seq * HOUR_NS,
        received_ns=seq * HOUR_NS + 1,
        value=seq.astype(np.float32),
        flags=np.zeros(count, np.uint8),
    )


@pytest.fixture(scope="session")
def make_readings() -> Callable[[str, int, int], Readings]:
    """`readings(epoch, first_seq, count)`."""
    return readings


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake", create=True)
