"""docs/gateway.md: each command that it tells a person at a gateway does what the page says."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from foreshock.cli import cli
from foreshock_agent.update.store import ModelStore
from foreshock_wire.model import Model
from tests.agent.rig import Bench, alarming, sample

if TYPE_CHECKING:
    from click.testing import Result

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL))
IN_BLOCKS = re.findall(r"^foreshock .*$", BLOCKS, flags=re.MULTILINE)
IN_TEXT = re.findall(r"`(foreshock [^`]*)`", PAGE)
HERE = [line for line in IN_BLOCKS if line.startswith("foreshock agent")]
ELSEWHERE = [line for line in IN_BLOCKS + IN_TEXT if line not in HERE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_bytes: bytes) -> Path:
    """A gateway's: a machine alarmed, and a message could not be read by the settings of then."""
    folder = tmp_path_factory.mktemp("gateway")
    bench = Bench(folder, Model.load(model_bytes))
    ModelStore(bench.settings.models).install(model_bytes)
    (folder / "new.onnx").write_bytes(model_bytes)
    bench.take(*alarming(Model.load(model_bytes)))
    unread = bench.delivery(sample(1, temperature=50.0), "pump-2")
    bench.step(unread._replace(topic="hall/pump-2/sample"))
    bench.commit()
    bench.close()
    config = folder / "agent.toml"
    more = '[[sources]]\ntopic = "hall/{machine}/sample"\nadapter = "json_object"\n'
    config.write_text(config.read_text().replace("[[sources]]", f"{more}\n[[sources]]", 1))
    (folder / "tried.toml").write_text(config.read_text())
    return folder


def run(folder: Path, line: str) -> Result:
    there = {"/etc/foreshock/agent.toml": "agent.toml"}
    words = [
        str(folder / there.get(word, word)) if word.endswith((".toml", ".onnx", ".html")) else word
        for word in shlex.split(line)[1:]
    ]
    return CliRunner().invoke(cli, words)


def test_the_page_has_commands() -> None:
    assert len(HERE) > 10
    assert len(ELSEWHERE) >= 4


@pytest.mark.parametrize("line", HERE)
def test_a_command_at_the_gateway_runs(folder: Path, line: str) -> None:
    done = run(folder, line)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_the_page_leads_to_what_was_rejected(folder: Path) -> None:
    for line in HERE:
        run(folder, line)
    again = run(folder, "foreshock agent rejected --config agent.toml")
    assert "0 of 1 rejected messages are kept" in again.stdout
    assert "ALARM" in run(folder, "foreshock agent replay --config agent.toml").stdout


@pytest.mark.parametrize("line", ELSEWHERE)
def test_a_command_elsewhere_has_these_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command = list(takewhile(lambda word: not word.startswith("--"), words))
    told = CliRunner().invoke(cli, [*command, "--help"])
    assert told.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert f"{option} " in told.stdout
