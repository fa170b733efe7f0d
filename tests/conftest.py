"""Optional things: a test that needs one skips without it, and the run ends in a table that tells.

`@pytest.mark.needs("mosquitto")` on a test, or `absent("dataset:skab")` where only the test itself
can find out. `FORESHOCK_REQUIRE=all` (or a comma separated list of names) turns the skip into a
failure: CI sets it after it installed everything.

Hypothesis has two profiles: `laws`, and `--hypothesis-profile=thorough` for a long look.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import ModuleType

# A law is no timed test, and the machine is shared.
settings.register_profile(
    "laws", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("laws"), max_examples=1500)
settings.load_profile("laws")

# Debian keeps daemons where a user's PATH does not look.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
DATA_SETS = ("ai4i2020", "azure_pdm", "cmapss", "gearbox", "skab")


@dataclass(frozen=True, slots=True)
class OptionalThing:
    """How to see whether a thing is here, and how a person gets it."""

    is_here: Callable[[], bool]
    how_to_get: str


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name, path=SEARCH_PATH) is not None


def _data_set(name: str) -> Callable[[], bool]:
    return (Path(os.environ.get("FORESHOCK_DATA", "missing")) / name).is_dir


def _strace_traces() -> bool:
    """Say whether strace is here and may trace: some containers forbid it."""
    strace = shutil.which("strace", path=SEARCH_PATH)
    if strace is None:
        return False
    command = [strace, "-o", os.devnull, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _docker_answers() -> bool:
    docker = shutil.which("docker", path=SEARCH_PATH)
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


def _may_mount() -> bool:
    """Whether a small tmpfs can be mounted and taken away again."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            return False
        return subprocess.run(["umount", folder], check=False).returncode == 0


def _has_network_interface() -> bool:
    """Whether there is an address besides loopback; connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return False
        return not str(probe.getsockname()[0]).startswith("127.")


OPTIONAL_THINGS: dict[str, OptionalThing] = {
    "mosquitto": OptionalThing(
        _program("mosquitto"), "apt-get install mosquitto, or brew install mosquitto"
    ),
    "chromium": OptionalThing(_program("chromium"), "apt-get install chromium"),
    "docker": OptionalThing(_docker_answers, "install Docker Engine and start it"),
    "strace": OptionalThing(
        _strace_traces, "apt-get install strace, where a process may trace others (Linux only)"
    ),
    "systemd-analyze": OptionalThing(_program("systemd-analyze"), "apt-get install systemd"),
    "mount-rights": OptionalThing(_may_mount, "run as root, where the kernel allows a tmpfs"),
    "network-interface": OptionalThing(
        _has_network_interface, "give this machine an address besides 127.0.0.1"
    ),
    "package-index": OptionalThing(
        lambda: True, "a network, or a mirror named by: pip config set global.index-url ..."
    ),
    **{
        f"dataset:{name}": OptionalThing(
            _data_set(name), f"download it and put it in FORESHOCK_DATA/{name}"
        )
        for name in DATA_SETS
    },
}


def absent(name: str, why: str = "") -> NoReturn:
    """Stop the test for want of an optional thing: a skip, or a failure when it is required."""
    thing = OPTIONAL_THINGS[name]
    required = os.environ.get("FORESHOCK_REQUIRE", "").split(",")
    stop = pytest.fail if "all" in required or name in required else pytest.skip
    error = stop.Exception(f"{name} is absent{': ' + why if why else ''}; {thing.how_to_get}")
    vars(error)["foreshock_absent"] = name  # for the report hook below
    raise error


def require(name: str) -> None:
    """Go on only where the optional thing is here."""
    if not OPTIONAL_THINGS[name].is_here():
        absent(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long and by which dice tests/faults/ disturb the processes."""
    group = parser.getgroup("faults")
    group.addoption("--kills", type=int, help="How often each test disturbs (default: as in CI).")
    group.addoption(
        "--client",
        choices=["direct", "paho"],
        default="direct",
        help="The agents' client of the machines' broker (default: direct).",
    )
    group.addoption("--cuts", type=int, default=40, help="Power cuts (default: 40).")
    group.addoption("--flips", type=int, default=40, help="How many databases are damaged.")
    group.addoption("--seed", type=int, default=20261123, help="The dice (default: 20261123).")


def pytest_configure() -> None:
    """Hear Ctrl-C: a run in the background ignores it, and so would the processes it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold every `needs` marker of a test against this machine."""
    for marker in item.iter_markers("needs"):
        for name in marker.args:
            require(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the absent thing's name into the report, which also travels from xdist's workers."""
    report = yield
    name = vars(call.excinfo.value).get("foreshock_absent") if call.excinfo else None
    if name is not None:
        report.user_properties.append(("foreshock-absent", name))
    return report


def properties(reporter: pytest.TerminalReporter, *outcomes: str) -> list[tuple[str, object]]:
    """Return the properties that tests with these outcomes recorded."""
    reports = [report for outcome in outcomes for report in reporter.stats.get(outcome, [])]
    return [pair for report in reports for pair in getattr(report, "user_properties", [])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End the run with what tests had to say, and with what was missing and how to get it."""
    for key, line in properties(terminalreporter, "passed", "failed"):
        if key == "foreshock-says":
            terminalreporter.line(str(line))
    stopped = properties(terminalreporter, "skipped", "failed", "error")
    counts = Counter(str(name) for key, name in stopped if key == "foreshock-absent")
    if not counts:
        return
    terminalreporter.section("optional things that were absent")
    terminalreporter.line(f"{'thing':<18} {'tests':>5}  how to get it")
    for name, count in sorted(counts.items()):
        terminalreporter.line(f"{name:<18} {count:>5}  {OPTIONAL_THINGS[name].how_to_get}")


@pytest.fixture(scope="session")
def absent_thing() -> Callable[..., NoReturn]:
    """`absent`, for tests that find out themselves."""
    return absent


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Show a line, such as a measured size, at the end of the run."""
    return lambda line: record_property("foreshock-says", line)


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Import a file of scripts/, which is run by path and belongs to no package."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).parent.parent / "scripts" / f"{name}.py"
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def mosquitto_binary() -> str:
    """The path of the Mosquitto broker; the test stops where there is none."""
    require("mosquitto")
    found = shutil.which("mosquitto", path=SEARCH_PATH)
    assert found is not None
    return found
