"""Make the virtual environment that a `make` target needs, from the lock, with nothing installed.

Run by `scripts/setup.sh` under the Python it found; the standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
# What each level contains, itself included: an environment for dev serves the demo too.
SERVES = {"demo": {"demo"}, "dev": {"demo", "dev"}}
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}
OLDEST_GLIBC = (2, 28)
OLDEST_MACOS = 14
SUPPORTED = (
    "Foreshock runs on Linux x86_64 and arm64 with glibc 2.28 or newer and on macOS 14 or newer "
    "on arm64, with CPython 3.11, 3.12 or 3.13 (64 bit)"
)


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Installer:
    """A command line that installs requirements into the environment."""

    name: str
    install: tuple[str, ...]
    quiet: tuple[str, ...]


def refuse_unsupported() -> None:
    """Raise SetupError on a platform or Python that the lock was not made for."""
    system, machine = platform.system(), platform.machine()
    version = ".".join(platform.python_version_tuple()[:2])
    here = f"this is {system} {machine}, Python {version}"
    if (system, machine) not in PLATFORMS or version not in {"3.11", "3.12", "3.13"}:
        raise SetupError(f"{SUPPORTED}; {here}.")
    if sys.maxsize < 2**32:
        raise SetupError(f"{SUPPORTED}; {here}, 32 bit.")
    if system == "Darwin" and int(platform.mac_ver()[0].partition(".")[0] or 0) < OLDEST_MACOS:
        raise SetupError(f"{SUPPORTED}; {here}, macOS {platform.mac_ver()[0]}.")
    libc, libc_version = platform.libc_ver()
    if system == "Linux" and not _glibc_is_new_enough(libc, libc_version):
        raise SetupError(
            f"{SUPPORTED}; {here} with {libc or 'another libc (musl?)'} {libc_version}"
        )


def _glibc_is_new_enough(libc: str, version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return libc == "glibc" and numbers >= OLDEST_GLIBC


def say(text: str) -> None:
    """Print one progress line at once."""
    print(f"==> {text}", flush=True)


def works(command: Sequence[str]) -> bool:
    """Tell whether a command exists and ends well; pyenv leaves shims that do not."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run(command: Sequence[str]) -> bool:
    """Run a command with its output shown; tell whether it ended well."""
    environment = {**as_pip_reaches_out(), **os.environ}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode == 0


def as_pip_reaches_out() -> dict[str, str]:
    """Hand uv what it does not read by itself: pip's package index and this machine's CA bundle."""
    index = os.environ.get("PIP_INDEX_URL", "")
    if not index:
        command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        index = subprocess.run(command, capture_output=True, check=False, text=True).stdout.strip()
    settings = {"UV_DEFAULT_INDEX": index} if index else {}
    if ssl.get_default_verify_paths().cafile:
        settings["UV_SYSTEM_CERTS"] = "1"
    return settings


class Environment:
    """One virtual environment folder, its stamp and the ways to fill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.stamp = folder / "foreshock-stamp.json"

    def fingerprint(self, level: str) -> dict[str, str]:
        """Everything that makes an environment of this level stale when it changes."""
        lock = (LOCKS / f"{level}.txt").read_bytes()
        project = (ROOT / "pyproject.toml").read_bytes()
        return {
            "root": str(ROOT),
            "level": level,
            "lock": hashlib.sha256(lock).hexdigest(),
            "project": hashlib.sha256(project + _version().encode()).hexdigest(),
            "python": ".".join(platform.python_version_tuple()[:2]),
        }

    def recorded(self) -> dict[str, str]:
        """Read the stamp of the last complete set-up; empty when there is none."""
        try:
            stamp = json.loads(self.stamp.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def is_ready(self, level: str) -> bool:
        """Tell whether a complete environment that serves this level stands already."""
        stamp = self.recorded()
        built = stamp.get("level", "")
        if level not in SERVES.get(built, ()):
            return False
        return stamp == self.fingerprint(built) and works([str(self.python), "-c", ""])

    def level_to_build(self, level: str) -> str:
        """Keep a developer's environment a developer's when the demo refreshes it."""
        built = self.recorded().get("level", "")
        return built if level in SERVES.get(built, ()) else level

    def is_reusable(self) -> bool:
        """Tell whether the folder's interpreter can be kept and only its packages refreshed."""
        stamp = self.recorded()
        same_place = stamp.get("root") == str(ROOT)
        same_python = stamp.get("python") == ".".join(platform.python_version_tuple()[:2])
        return same_place and same_python and works([str(self.python), "-c", ""])

    def create(self) -> None:
        """Make an empty environment, with pip where this Python can give it one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        uv = path_uv()
        if works([sys.executable, "-c", "import ensurepip, venv"]):
            made = run([sys.executable, "-m", "venv", str(self.folder)])
        elif uv is not None:
            made = run([uv, "venv", "--quiet", "--python", sys.executable, str(self.folder)])
        elif works([sys.executable, "-m", "virtualenv", "--version"]):
            made = run([sys.executable, "-m", "virtualenv", "--quiet", str(self.folder)])
        elif works([sys.executable, "-m", "pip", "--python", sys.executable, "--version"]):
            made = run([sys.executable, "-m", "venv", "--without-pip", str(self.folder)])
        else:
            raise SetupError(no_ensurepip())
        if not made:
            raise SetupError(f"{sys.executable} could not make {self.folder}; see above.")

    def installers(self) -> Iterator[Installer]:
        """Offer the ways to install, best first: uv, then plain pip."""
        uv = self._own_uv() or path_uv()
        if uv is not None:
            yield Installer("uv", (uv, "pip", "install", "--python", str(self.python)), ("-q",))
        pip = self._pip()
        if pip is not None:
            yield Installer("pip", (*pip, "install", "--disable-pip-version-check"), ("-qq",))

    def _own_uv(self) -> str | None:
        uv = str(self.folder / "bin" / "uv")
        if works([uv, "--version"]):
            return uv
        pip = self._pip()
        if pip is None or os.environ.get("FORESHOCK_NO_UV"):
            return None
        lock = str(LOCKS / "uv.txt")
        install = [*pip, "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        return uv if run([*install, "-r", lock]) and works([uv, "--version"]) else None

    def _pip(self) -> tuple[str, ...] | None:
        own = (str(self.python), "-m", "pip")
        if works([*own, "--version"]):
            return own
        outer = (sys.executable, "-m", "pip", "--python", str(self.python))
        return outer if works([*outer, "--version"]) else None

    def fill(self, level: str) -> str:
        """Install the lock and the project; return the installer's name.

        Raises:
            SetupError: no installer could do it.
        """
        for installer in self.installers():
            say(f"[2/3] {installer.name} installs {_count(level)} packages of the {level} lock")
            quiet = () if sys.stderr.isatty() else installer.quiet
            lock = ("--require-hashes", "--only-binary", ":all:", "-r", str(LOCKS / f"{level}.txt"))
            project = ("--no-deps", "--no-build-isolation", "--editable", str(ROOT))
            if not run([*installer.install, *quiet, *lock]):
                say(f"{installer.name} could not; see above")
                continue
            say("[3/3] Foreshock itself, editable")
            if run([*installer.install, *quiet, *project]):
                return installer.name
        raise SetupError(
            "the packages could not be installed; see above. Is the package index reachable from "
            "here? A mirror is taken from pip's own settings (pip config set global.index-url ...)."
        )

    def seal(self, level: str) -> None:
        """Write the stamp, last, so that an interrupted set-up is begun again."""
        temporary = self.stamp.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.fingerprint(level), indent=1), "utf-8")
        temporary.replace(self.stamp)


def path_uv() -> str | None:
    """Return the uv of this machine's PATH, when it really runs."""
    uv = shutil.which("uv")
    usable = uv is not None and not os.environ.get("FORESHOCK_NO_UV")
    return uv if uv is not None and usable and works([uv, "--version"]) else None


def no_ensurepip() -> str:
    """Say which command gives this Python the part it lacks."""
    version = ".".join(platform.python_version_tuple()[:2])
    return (
        f"{sys.executable} (Python {version}) has neither ensurepip nor pip, and there is no uv "
        f"and no virtualenv. Run this, then the same target again:\n"
        f"  apt-get install python{version}-venv      (Debian, Ubuntu; with sudo if need be)\n"
        f"or name another interpreter: make PYTHON=/path/to/python3.11 <target>"
    )


def _version() -> str:
    return (ROOT / "foreshock" / "__init__.py").read_text("utf-8").partition("__version__")[2]


def _count(level: str) -> int:
    text = (LOCKS / f"{level}.txt").read_text("utf-8")
    return sum("==" in line for line in text.splitlines() if not line.startswith((" ", "#")))


@contextmanager
def alone() -> Iterator[None]:
    """Hold off a second set-up of the same clone until this one is done."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make(level: str, folder: Path) -> None:
    """Bring the environment in `folder` to `level`; quick when it is there already."""
    refuse_unsupported()
    environment = Environment(folder)
    if environment.is_ready(level):
        return
    with alone():
        if environment.is_ready(level):
            return
        began = time.monotonic()
        level = environment.level_to_build(level)
        if environment.is_reusable():
            say(f"[1/3] {folder.name} is stale: refreshing it")
        else:
            say(f"[1/3] Python {platform.python_version()} ({sys.executable}) makes {folder.name}")
            environment.create()
        installer = environment.fill(level)
        environment.seal(level)
        say(f"{folder.name} is ready ({installer}, {time.monotonic() - began:.0f} s)")


def main() -> None:
    """Read the level from the command line and make it so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("level", choices=sorted(SERVES))
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv")
    arguments = parser.parse_args()
    try:
        make(arguments.level, arguments.venv)
    except SetupError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
