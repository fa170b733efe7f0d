"""What `deploy/` ships is what the code reads."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from foreshock_agent.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = re.compile(r"# [a-z_]+ = ")
DEPLOY = Path(__file__).parent.parent / "deploy"


def test_the_example_settings_load() -> None:
    settings = load(DEPLOY / "agent.toml")
    assert settings.cloud is not None
    assert settings.cloud.tls


def test_the_example_names_every_setting() -> None:
    """Commented out or not: a person must find each entry there."""
    text = (DEPLOY / "agent.toml").read_text(encoding="utf-8")
    named = {line.lstrip("# ").split("=")[0].strip() for line in text.splitlines()}
    for name, field in Settings.model_fields.items():
        assert name in named or f"[{name}" in text
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert set(field.annotation.model_fields) - named <= {"insecure"}, name


def test_the_commented_defaults_are_the_defaults() -> None:
    """Uncommenting a line changes nothing, unless it names a file or a person."""
    text = (DEPLOY / "agent.toml").read_text(encoding="utf-8")
    opened = [
        line.removeprefix("# ") if DEFAULT.match(line) else line
        for line in text.splitlines()
        if not any(name in line for name in ("username", "password_file", "ca_file"))
    ]
    assert sum(DEFAULT.match(line) is not None for line in text.splitlines()) > 15
    assert Settings.model_validate(tomllib.loads("\n".join(opened))) == load(DEPLOY / "agent.toml")


def test_the_sockets_path_is_one() -> None:
    broker, folder, agent = (
        (DEPLOY / name).read_text(encoding="utf-8")
        for name in (
            "mosquitto/socket.conf",
            "systemd/mosquitto.service.d/foreshock.conf",
            "agent.toml",
        )
    )
    (path,) = re.findall(r"^listener 0 (\S+)$", broker, flags=re.MULTILINE)
    assert f'host = "unix:{path}"' in broker
    assert f'host = "unix:{path}"' in agent
    assert f" {Path(path).parent}\n" in folder


UNIT = DEPLOY / "systemd" / "foreshock-agent.service"
COMMAND = "/opt/foreshock/bin/foreshock agent run --config /etc/foreshock/agent.toml"
EXPOSURE = 1.5
"""Of 10: what remains is the network that it serves, and systemd's own small devices."""


def setting(name: str) -> str:
    """Return what the unit sets, once."""
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return str(value)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_unit_runs_the_command_that_the_demo_runs() -> None:
    assert setting("ExecStart") == COMMAND


def test_the_units_watchdog_waits_longer_than_a_stage_may_take() -> None:
    """And the agent is restarted however often that takes."""
    assert setting("Type") == "notify"
    assert float(setting("WatchdogSec")) >= 2 * load(DEPLOY / "agent.toml").health.stalled_s
    assert (setting("Restart"), setting("StartLimitIntervalSec")) == ("always", "0")


@pytest.mark.needs("systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With a program in place of the one that is not installed here."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(COMMAND, sys.executable))
    verified = analyze("verify", str(unit))
    assert (verified.returncode, UNIT.stem in verified.stderr) == (0, False), verified.stderr
    unit.write_text(unit.read_text() + "[Service]\nNoNewPriviledges=yes\n")
    assert "NoNewPriviledges" in analyze("verify", str(unit)).stderr


@pytest.mark.needs("systemd-analyze")
def test_the_unit_exposes_little(say: Callable[[str], None]) -> None:
    judged = analyze("security", "--offline=true", str(UNIT))
    level = re.search(r"exposure level for .*: ([\d.]+)", judged.stdout)
    assert level is not None, judged.stderr
    assert float(level[1]) <= EXPOSURE, judged.stdout
    say(f"systemd's exposure level of the agent's unit is {level[1]} of 10")
