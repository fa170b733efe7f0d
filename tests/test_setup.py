"""`make` finds a Python by itself, makes what is needed once, and refuses in words that help."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

ROOT = Path(__file__).parent.parent
TARGETS = [
    "help",
    "setup",
    "demo",
    "test",
    "lint",
    "format",
    "bench",
    "build",
    "run",
    "run_pipeline",
]
BARE = "/usr/bin:/bin"


@pytest.fixture
def environment(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("environment")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The set-up scripts of this tree, with a set-up step that only says who runs it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    says = "import sys\nprint('chosen', sys.executable, *sys.argv[1:])\n"
    (tmp_path / "scripts" / "environment.py").write_text(says, "utf-8")
    return tmp_path


def setup(clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {"HOME": str(clone), "PATH": str(clone / "bin") + ":" + BARE, **variables}
    command = ["sh", "scripts/setup.sh", "demo"]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=clone, env=clean
    )


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)


NAMES = ("python3.11", "python3.12", "python3.13", "python3", "python")
SHIM = "echo 'pyenv: command not found' >&2; exit 127"
TOO_OLD = "echo ''; exit 1"


def test_a_shim_that_fails_and_a_python_that_is_too_old_are_passed_over(clone: Path) -> None:
    program(clone / "bin" / "python3.11", SHIM)
    program(clone / "bin" / "python3.12", TOO_OLD)
    program(clone / "bin" / "python3.13", f'exec "{sys.executable}" "$@"')

    done = setup(clone)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"chosen {sys.executable} demo\n"


def test_a_python_of_pyenv_is_found_where_its_shims_fail(clone: Path) -> None:
    for name in NAMES:
        program(clone / "bin" / name, SHIM)
    program(clone / "pyenv/versions/3.13.0/bin/python3", f'exec "{sys.executable}" "$@"')

    done = setup(clone, PYENV_ROOT=str(clone / "pyenv"))

    assert done.stdout == f"chosen {sys.executable} demo\n", done.stderr


def test_an_interpreter_that_can_make_environments_comes_first(clone: Path) -> None:
    pythons = {}
    for name in ("lame", "whole"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / name], check=True)
        pythons[name] = clone / name / "bin" / "python"
    lame = f'case "$2" in *ensurepip*) exit 1;; esac; exec "{pythons["lame"]}" "$@"'
    program(clone / "bin" / "python3.11", lame)
    program(clone / "bin" / "python3.12", f'exec "{pythons["whole"]}" "$@"')

    assert setup(clone).stdout == f"chosen {pythons['whole']} demo\n"

    for name in NAMES[1:]:
        program(clone / "bin" / name, TOO_OLD)

    assert setup(clone).stdout == f"chosen {pythons['lame']} demo\n"


def test_no_python_at_all_names_what_is_supported_and_how_to_get_it(clone: Path) -> None:
    for name in NAMES:
        program(clone / "bin" / name, TOO_OLD)

    done = setup(clone)

    assert done.returncode == 1
    for words in ("3.11, 3.12 and 3.13", "x86_64", "arm64", "apt-get install python3.11"):
        assert words in done.stderr


def test_a_python_named_by_the_user_is_taken_or_refused_but_never_replaced(clone: Path) -> None:
    taken = setup(clone, PYTHON=sys.executable)
    refused = setup(clone, PYTHON="/bin/sh")

    assert taken.stdout == f"chosen {sys.executable} demo\n"
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: PYTHON=/bin/sh is not a CPython 3.11")


@pytest.mark.parametrize(
    ("system", "machine", "python"),
    [
        ("Windows", "AMD64", ("3", "11", "9")),
        ("Darwin", "x86_64", ("3", "11", "9")),
        ("Linux", "armv7l", ("3", "11", "9")),
        ("Linux", "x86_64", ("3", "10", "0")),
        ("Linux", "x86_64", ("3", "14", "0")),
    ],
)
def test_an_unsupported_platform_is_refused_by_name(
    environment: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    python: tuple[str, str, str],
) -> None:
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    monkeypatch.setattr(environment.platform, "machine", lambda: machine)
    monkeypatch.setattr(environment.platform, "python_version_tuple", lambda: python)

    with pytest.raises(environment.SetupError) as refusal:
        environment.refuse_unsupported()

    assert "Foreshock runs on Linux x86_64 and arm64" in str(refusal.value)
    assert f"this is {system} {machine}, Python {python[0]}.{python[1]}" in str(refusal.value)


@pytest.mark.parametrize("libc", [("", ""), ("glibc", "2.17"), ("glibc", "2.27")])
def test_a_c_library_without_wheels_is_refused(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, libc: tuple[str, str]
) -> None:
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    monkeypatch.setattr(environment.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(environment.platform, "libc_ver", lambda: libc)

    with pytest.raises(environment.SetupError, match=r"glibc 2\.28 or newer"):
        environment.refuse_unsupported()


@pytest.mark.parametrize("macos", ["13.6.1", "12.7"])
def test_a_macos_without_wheels_is_refused(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, macos: str
) -> None:
    monkeypatch.setattr(environment.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(environment.platform, "mac_ver", lambda: (macos, ("", "", ""), "arm64"))

    with pytest.raises(environment.SetupError, match=f"macOS 14 or newer .* macOS {macos}"):
        environment.refuse_unsupported()


def test_this_machine_is_supported(environment: ModuleType) -> None:
    environment.refuse_unsupported()


def test_without_ensurepip_the_exact_command_is_named(tmp_path: Path) -> None:
    for name in ("ensurepip", "pip", "virtualenv"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on this machine')", "utf-8")
    lame = {"PATH": BARE, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    lame["FORESHOCK_NO_UV"] = "1"
    command = [sys.executable, "scripts/environment.py", "demo", "--venv", str(tmp_path / "venv")]

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=lame)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 1
    assert f"apt-get install python{version}-venv" in done.stderr
    assert "Traceback" not in done.stderr


class TestAStandingEnvironment:
    """What was made once is used again, until something that it was made from changes."""

    @pytest.fixture
    def standing(
        self, environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str], Any]:
        locks = shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
        monkeypatch.setattr(environment, "LOCKS", locks)
        venv = tmp_path / "venv"
        command = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
        subprocess.run(command, check=True)

        def sealed(level: str) -> Any:  # noqa: ANN401 - from a module loaded by path
            made = environment.Environment(venv)
            made.seal(level)
            return made

        return sealed

    def test_nothing_is_done_twice(self, standing: Callable[[str], Any]) -> None:
        assert standing("demo").is_ready("demo")

    def test_a_developers_serves_the_demo_and_not_the_other_way(
        self, standing: Callable[[str], Any]
    ) -> None:
        assert standing("dev").is_ready("demo")
        assert not standing("demo").is_ready("dev")
        assert standing("dev").level_to_build("demo") == "dev"
        assert standing("demo").level_to_build("dev") == "dev"

    def test_a_changed_lock_makes_it_stale_but_keeps_its_interpreter(
        self, standing: Callable[[str], Any], tmp_path: Path
    ) -> None:
        made = standing("demo")
        with (tmp_path / "requirements" / "demo.txt").open("a", encoding="utf-8") as lock:
            lock.write("# changed\n")

        assert not made.is_ready("demo")
        assert made.is_reusable()

    def test_a_clone_that_was_moved_gets_a_new_one(
        self,
        standing: Callable[[str], Any],
        environment: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        made = standing("demo")
        elsewhere = environment.ROOT / "docs" / ".."
        monkeypatch.setattr(environment, "ROOT", elsewhere)

        assert not made.is_ready("demo")
        assert not made.is_reusable()

    def test_a_lost_interpreter_is_noticed(self, standing: Callable[[str], Any]) -> None:
        made = standing("demo")
        made.python.unlink()

        assert not made.is_ready("demo")
        assert not made.is_reusable()

    def test_a_set_up_that_was_cut_short_is_not_ready(self, standing: Callable[[str], Any]) -> None:
        made = standing("demo")
        made.stamp.write_text('{"level": "de', "utf-8")

        assert not made.is_ready("demo")


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean: Mapping[str, str] = {"HOME": "/", "PATH": os.environ["PATH"], **variables}
    command = ["make", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=clean)


def test_make_alone_lists_every_target() -> None:
    done = make()

    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert set(TARGETS) <= set(listed)


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "help"])
def test_every_target_makes_the_environment_it_needs_first(target: str) -> None:
    done = make("--dry-run", target)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sh scripts/setup.sh ")


def test_a_broken_set_up_stops_the_target() -> None:
    done = make("lint", PYTHON="/bin/sh")

    assert done.returncode == 2
    assert "PYTHON=/bin/sh is not a CPython 3.11" in done.stderr
    assert "ruff" not in done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_runs_in_ci(target: str) -> None:
    by_way_of = {"run": ".venv/bin/python .ci/predict.py"}
    steps = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()

    assert any(step.startswith(by_way_of.get(target, f"make {target}")) for step in steps)
    if target in by_way_of:
        assert f'"make", "{target}"' in (ROOT / ".ci" / "predict.py").read_text("utf-8")
