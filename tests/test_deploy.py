"""What `deploy/` ships is what the code reads."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from foreshock_agent.settings import Settings, load

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


def test_the_unit_runs_the_command_that_the_demo_runs() -> None:
    unit = (DEPLOY / "systemd" / "foreshock-agent.service").read_text(encoding="utf-8")
    assert "foreshock agent run --config /etc/foreshock/agent.toml" in unit
