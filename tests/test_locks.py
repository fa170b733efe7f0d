"""The locks install anywhere and mean one thing: hashes, no URL, what pyproject.toml asks for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NEVER_IN_THE_DEMO = ("prefect", "evidently", "pytest")
CENTRE_ONLY = ("pandas", "scipy", "scikit-learn", "xgboost", "xgboost-cpu", "mlflow", "pyarrow")
EXTRA_OF = {
    "wire": "agent",
    "rules": "agent",
    "agent": "agent",
    "converter": "import",
    "trainer": "trainer",
    "fleet": "fleet",
    "plant": "demo",
    "foreshock": "demo",
}
PARTS = {"pydantic_core", "starlette"}  # of pydantic and of FastAPI, which declare them
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
PYTHONS = ("3.11", "3.12", "3.13")

Environment = dict[str, str]
ENVIRONMENTS: list[Environment] = [
    {
        "sys_platform": system,
        "platform_system": system.capitalize(),
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
    }
    for (system, machine), python in product(PLATFORMS, PYTHONS)
]


def label(environment: Environment) -> str:
    return "-".join(
        environment[key] for key in ("sys_platform", "platform_machine", "python_version")
    )


def read_lock(name: str) -> dict[Requirement, list[str]]:
    """Each requirement of a lock with its hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    entries = {}
    for block in re.split(r"\n(?=[a-zA-Z0-9])", text.partition("\n")[2]):
        head, *hashes = block.replace("\\\n", "").split("--hash=")
        entries[Requirement(head)] = [entry.strip() for entry in hashes]
    return entries


def pins(name: str, environment: Environment) -> dict[str, str]:
    """Name and version of all that a lock installs in one environment."""
    return {
        canonicalize_name(entry.name): next(iter(entry.specifier)).version
        for entry in read_lock(name)
        if entry.marker is None or entry.marker.evaluate(environment)
    }


def wanted(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for with an extra, extras of our own followed."""
    extras = PROJECT["project"]["optional-dependencies"]
    found = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    for requirement in map(Requirement, extras[extra]):
        if requirement.name == "foreshock":
            found += [entry for name in requirement.extras for entry in wanted(name)]
        else:
            found.append(requirement)
    return found


def group(name: str) -> list[Requirement]:
    """What a dependency group asks for, groups in it followed."""
    found = []
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, str):
            found.append(Requirement(entry))
        else:
            found += group(entry["include-group"])
    return found


ASKED = {
    "agent": wanted("agent"),
    "demo": [*wanted("demo"), *group("build")],
    "dev": [*wanted("demo"), *group("dev")],
    "uv": group("installer"),
}


def test_every_lock_is_known() -> None:
    assert {path.stem for path in LOCKS} == set(ASKED)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_no_place(path: Path) -> None:
    text = path.read_text("utf-8")

    assert not re.search(
        r"[a-z]+://|--index|--extra-index|--find-links|@ |(^|\s)/|\.org|\.com", text
    )


@pytest.mark.parametrize("name", ASKED)
def test_every_requirement_is_one_public_version_with_hashes(name: str) -> None:
    for requirement, hashes in read_lock(name).items():
        assert [clause.operator for clause in requirement.specifier] == ["=="], requirement
        assert "+" not in str(requirement.specifier), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", entry) for entry in hashes), requirement


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=label)
@pytest.mark.parametrize("name", ASKED)
def test_a_lock_satisfies_the_project(name: str, environment: Environment) -> None:
    locked = pins(name, environment)

    for requirement in ASKED[name]:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=label)
def test_the_locks_agree_with_the_largest(environment: Environment) -> None:
    whole = pins("dev", environment)

    for name in ASKED:
        assert pins(name, environment).items() <= whole.items(), name


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=label)
def test_xgboost_comes_once_and_without_a_gpu_where_it_can(environment: Environment) -> None:
    boosters = {name for name in pins("demo", environment) if name.startswith("xgboost")}
    darwin = environment["sys_platform"] == "darwin"

    assert boosters == ({"xgboost"} if darwin else {"xgboost-cpu"})


@pytest.mark.parametrize("name", NEVER_IN_THE_DEMO)
def test_the_demo_does_not_install(name: str) -> None:
    assert not any(name in pins("demo", environment) for environment in ENVIRONMENTS)


@pytest.mark.parametrize("name", CENTRE_ONLY)
def test_a_gateway_does_not_install(name: str) -> None:
    assert not any(name in pins("agent", environment) for environment in ENVIRONMENTS)


def test_the_lock_script_serves_the_environments_of_the_project(
    load_script: Callable[[str], ModuleType],
) -> None:
    lock = load_script("lock")

    for text in PROJECT["tool"]["uv"]["environments"]:
        assert sum(Marker(text).evaluate(entry) for entry in lock.environments()) == len(PYTHONS)
    assert lock.shortest_marker(Marker("sys_platform == 'win32'")) is None
    assert lock.shortest_marker(Marker("sys_platform != 'win32'")) == ""
    assert lock.shortest_marker(Marker("platform_machine == 'arm64'")) == "sys_platform == 'darwin'"
    both = Marker("python_full_version < '3.12' and platform_machine != 'arm64'")
    assert lock.shortest_marker(both) == "sys_platform == 'linux' and python_version < '3.12'"


@pytest.mark.parametrize(("folder", "extra"), EXTRA_OF.items())
def test_an_extra_declares_what_its_code_imports(folder: str, extra: str) -> None:
    declared = {canonicalize_name(requirement.name) for requirement in wanted(extra)}
    providers = packages_distributions()

    for path in (ROOT / folder).rglob("*.py"):
        for name in imported(path) - set(sys.stdlib_module_names):
            if not name.startswith("foreshock") and name not in PARTS:
                found = {canonicalize_name(entry) for entry in providers.get(name, [name])}
                assert found & declared, f"{path.relative_to(ROOT)} imports {name}"


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}
