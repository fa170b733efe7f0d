from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from foreshock_plant.machine import class_of, machine_ids, simulate
from foreshock_plant.parameters import CLASSES, digest
from foreshock_plant.sensor_faults import deliver, true_messages
from foreshock_wire.errors import ForeshockError

FROZEN = "07fd9e4cebab239f643b1493f20ec971ef0a54ecc648333d69a1f1ecd0ea0504"
"""The plant whose difficulty docs/plant.md tells: new numbers need new figures there."""

FINGERPRINT = """
import sys
sys.path[:0] = {path!r}
from test_a_run_repeats import fingerprint
print(fingerprint(seed=5))
"""


def fingerprint(seed: int) -> str:
    lives = [simulate(name, seed=seed, hours=300) for name in machine_ids(3)]
    delivered, stretches = deliver(true_messages(lives), seed=seed)
    sha = hashlib.sha256(repr(([life.events for life in lives], stretches)).encode())
    for column in ("machine", "time_ns", "arrival_ns", "taken_ns", "values", "copy"):
        sha.update(getattr(delivered, column).tobytes())
    return sha.hexdigest()


def test_another_process_repeats_it_bit_for_bit() -> None:
    program = FINGERPRINT.format(path=[os.path.dirname(__file__), *sys.path])  # noqa: PTH120
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == fingerprint(seed=5)


def test_another_seed_is_another_plant() -> None:
    assert fingerprint(seed=5) != fingerprint(seed=6)


def test_a_life_does_not_depend_on_the_size_of_the_plant() -> None:
    small, _ = deliver(true_messages([simulate("pump-01", seed=2, hours=200)]), seed=2)
    lives = [simulate(name, seed=2, hours=200) for name in ("fan-01", "pump-01")]
    large, _ = deliver(true_messages(lives), seed=2)
    own = large.take(np.flatnonzero(large.machine == 1))
    np.testing.assert_array_equal(own.values, small.values)
    np.testing.assert_array_equal(own.arrival_ns, small.arrival_ns)


def test_the_parameters_are_frozen() -> None:
    assert digest() == FROZEN


def test_ids_name_their_class() -> None:
    names = machine_ids(7, "h-")
    assert names[:4] == ("h-pump-01", "h-compressor-01", "h-fan-01", "h-pump-02")
    assert len(set(names)) == 7
    assert {class_of(name).name for name in names} == set(CLASSES)


@pytest.mark.parametrize("name", ["turbine-01", "pumpe", ""])
def test_an_unknown_class_is_named(name: str) -> None:
    with pytest.raises(ForeshockError, match="names no class"):
        class_of(name)
