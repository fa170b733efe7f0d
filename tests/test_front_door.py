"""The `foreshock` command: quick to open, honest about what is not installed, no tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from foreshock import __version__
from foreshock import cli as front_door
from foreshock.cli import DOORS, Door, cli
from foreshock_wire.errors import ForeshockError

ROOT = Path(__file__).parent.parent
HEAVY = {
    "amqtt",
    "deltalake",
    "fastapi",
    "mlflow",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "sqlite_utils",
    "uvicorn",
    "xgboost",
}


def modules_after(code: str) -> set[str]:
    """Top-level names of all modules that a fresh interpreter holds after `code`."""
    ask = f"{code}\nimport json, sys\nprint(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@click.command()
def fails() -> None:
    """Raise an error on purpose."""
    raise ForeshockError("the lake /nowhere does not exist: run `foreshock trainer ingest` first")


@click.command()
def imports_late() -> None:
    """Need a package only when it runs."""
    import a_package_nobody_has  # type: ignore[import-not-found]  # noqa: F401, PLC0415


def replace_door(monkeypatch: pytest.MonkeyPatch, name: str, target: str) -> Door:
    door = replace(DOORS[name], target=target)
    monkeypatch.setattr(front_door, "DOORS", {**DOORS, name: door})
    return door


def test_help_names_every_door_and_imports_none_of_them() -> None:
    code = "from click.testing import CliRunner\nfrom foreshock.cli import cli\n"
    loaded = modules_after(f"{code}assert CliRunner().invoke(cli, ['--help']).exit_code == 0")

    assert not loaded & HEAVY
    assert {name for name in loaded if name.startswith("foreshock")} == {
        "foreshock",
        "foreshock_wire",
    }
    printed = CliRunner().invoke(cli, ["--help"]).output
    for name, door in DOORS.items():
        assert f"  {name} " in printed
        assert door.summary in printed


@pytest.mark.parametrize("name", DOORS)
def test_opening_a_door_imports_nothing_heavy(name: str) -> None:
    code = "from click.testing import CliRunner\nfrom foreshock.cli import cli\n"
    run = f"done = CliRunner().invoke(cli, [{name!r}, '--help'])\nassert not done.exit_code, done"

    assert not modules_after(code + run) & HEAVY


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"foreshock, version {__version__}\n"


def test_python_dash_m_is_the_same_command() -> None:
    command = [sys.executable, "-m", "foreshock", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout == f"foreshock, version {__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["taniwha"])

    assert result.exit_code == 2
    assert "No such command 'taniwha'" in result.stderr


def test_an_error_on_purpose_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "door_of_a_test", sys.modules[__name__])
    replace_door(monkeypatch, "agent", "door_of_a_test:fails")

    result = CliRunner().invoke(cli, ["agent"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: the lake /nowhere does not exist")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", DOORS)
def test_a_door_whose_packages_are_absent_names_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = replace_door(monkeypatch, name, "a_package_nobody_has.cli:cli")

    result = CliRunner().invoke(cli, [name])

    assert result.exit_code == 1
    assert result.stderr == (
        f"error: 'foreshock {name}' needs the Python package 'a_package_nobody_has', "
        f"which is not installed: pip install 'foreshock[{door.extra}]'\n"
    )


def test_a_package_that_is_missed_late_names_the_extra_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "door_of_a_test", sys.modules[__name__])
    replace_door(monkeypatch, "trainer", "door_of_a_test:imports_late")

    result = CliRunner().invoke(cli, ["trainer"])

    assert result.exit_code == 1
    assert "pip install 'foreshock[trainer]'" in result.stderr


def test_every_extra_that_a_door_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert {door.extra for door in DOORS.values()} <= set(project["optional-dependencies"])
