"""A plant without a line: the repository travels on a stick, which is believed no more than it."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from foreshock.cli import cli
from foreshock_agent.update.store import ModelStore
from foreshock_fleet.state import now_ns, open_state
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import Report
from tests.fleet.conftest import CHANNELS, set_up_signing

if TYPE_CHECKING:
    from pathlib import Path

AT = Gateway("north", "gw-1")


def foreshock(*arguments: str, expect: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == expect, done.output
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return said | {"error": done.stderr}


class Plant:
    """A fleet's folder, a gateway's settings, and a stick between them."""

    def __init__(self, folder: Path) -> None:
        self.fleet, self.stick = folder / "fleet", folder / "stick"
        self.data, self.config = folder / "data", folder / "agent.toml"
        set_up_signing(self.fleet)
        self.config.write_text(
            f'site = "{AT.site}"\ngateway = "{AT.gateway}"\ndata_dir = "{self.data}"\n'
            f'channels = {json.dumps(CHANNELS)}\n[update]\nroot = "{self.fleet}/root.json"\n'
            '[[sources]]\ntopic = "plant/{machine}/sample"\n'
        )

    def offer(self, model: bytes) -> str:
        file = self.fleet.parent / "model.onnx"
        file.write_bytes(model)
        state = ("--state", str(self.fleet))
        sha256 = str(foreshock("fleet", "publish", str(file), *state)["sha256"])
        with contextlib.closing(open_state(self.fleet)) as opened:
            opened.note_report(AT, Report(gateway=AT.gateway), now_ns())
        foreshock("fleet", "rollout", "create", sha256, *state)
        foreshock("fleet", "export", str(self.stick), *state)
        return sha256

    def update(self, expect: int = 0) -> dict[str, Any]:
        where = ("--config", str(self.config), "--from", str(self.stick))
        return foreshock("agent", "update", *where, expect=expect)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_a_stick_brings_a_model_and_every_later_one(
    plant: Plant, model_a: bytes, model_b: bytes
) -> None:
    for counter, model in enumerate((model_a, model_b), start=1):
        sha256 = plant.offer(model)
        said = plant.update()
        assert (said["state"], said["counter"]) == ("committed", counter)
        current = ModelStore(plant.data / "models").current()
        assert current is not None
        assert (current.stem, current.read_bytes()) == (sha256, model)


def test_a_stick_that_was_tampered_with_or_is_empty_changes_nothing(
    plant: Plant, model_a: bytes
) -> None:
    assert "does not exist" in plant.update(expect=2)["error"]
    sha256 = plant.offer(model_a)
    target = plant.stick / "targets" / f"{sha256}.onnx"
    target.write_bytes(model_a[:-1] + bytes([model_a[-1] ^ 1]))
    said = plant.update(expect=3)
    assert "tampered with" in said["reason"]
    shutil.rmtree(plant.stick / "directives")
    assert "no directive for north/gw-1" in plant.update(expect=1)["error"]
    assert ModelStore(plant.data / "models").current() is None


def test_while_the_agent_runs_the_stick_waits(plant: Plant, model_a: bytes) -> None:
    plant.offer(model_a)
    with ModelStore(plant.data / "models").exclusive():
        assert "stop the agent first" in plant.update(expect=1)["error"]
