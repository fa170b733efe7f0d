"""A small fleet of real updaters on one broker: coordinator and broker are killed on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.fleet_run import measure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.needs("mosquitto")
def test_exactly_the_right_gateways_are_changed_and_the_audit_trail_is_whole(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    found = measure(tmp_path, 40, 5, said.append)
    assert (found["wrong_devices"], found["audit_faults"]) == (0, [])
    assert (found["state"], found["committed"], found["failed"]) == ("incomplete", 35, 1)
    assert sum("is killed" in text for text in said) == 5
