"""A QEMU for arm64 programs that is new enough: this machine's, or Debian 13's, fetched once.

Debian 13's binaries are linked statically, so they run on any Linux. apt fetches and verifies
the package with folders of its own: what this machine has installed is not touched, and no root is
needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.trees import quiet, say

EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
OLDEST = 10  # 7.2 crashes while it imports onnxruntime, 10.0 does not
NEEDED = ("apt-get", "dpkg-deb")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = f"deb [arch=amd64 signed-by={KEYS}] http://deb.debian.org/debian trixie main\n"


def installed(named: str | None) -> str | None:
    """Return the first that is new enough: the one `named`, or else one of the path."""
    return next(filter(_new_enough, (named,) if named else EMULATORS), None)


def _new_enough(name: str) -> bool:
    if shutil.which(name) is None:
        return False
    told = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\d+)", told.stdout)
    return version is not None and int(version[1]) >= OLDEST


def refusal(named: str | None) -> str | None:
    """Say why there is none and none can be fetched, and the way out; None when there is."""
    if installed(named) is not None:
        return None
    if named:
        return f"{named} is no QEMU {OLDEST} or newer for arm64 programs: name another with --qemu"
    if all(map(shutil.which, NEEDED)) and KEYS.is_file():
        return None
    return (
        f"make arm64 needs QEMU {OLDEST} or newer for user programs, and only Debian's apt can "
        "fetch one here. Install qemu-user where it is new enough, as on Debian 13; or unpack "
        "Debian 13's package from https://packages.debian.org/trixie/qemu-user (dpkg-deb --extract "
        "FILE var/qemu) and run make arm64 ARGS='--qemu var/qemu/usr/bin/qemu-aarch64'"
    )


def provided(named: str | None, folder: Path) -> str:
    """Return one, after `refusal` had nothing to say; what is fetched is kept in `folder`."""
    if (found := installed(named)) is not None:
        return found
    kept = folder / EMULATORS[0]
    if not _new_enough(str(kept)):
        _fetch(kept)
    return str(kept)


def _fetch(kept: Path) -> None:
    say("fetches Debian 13's qemu-user, once (80 MB)")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as there:
        work = Path(there)
        apt = _apt(work)
        quiet(*apt, "update")
        quiet(*apt, "download", "qemu-user", folder=work)
        (package,) = work.glob("qemu-user_*.deb")
        quiet("dpkg-deb", "--extract", str(package), str(work / "tree"))
        (work / "tree/usr/bin" / kept.name).rename(kept)


def _apt(work: Path) -> tuple[str, ...]:
    """Return apt-get with sources, keys and folders of its own."""
    (work / "lists/partial").mkdir(parents=True)
    (work / "cache/archives/partial").mkdir(parents=True)
    (work / "sources.list").write_text(SOURCE)
    options = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "",
    }
    told = (word for name, value in options.items() for word in ("-o", f"{name}={value}"))
    return ("apt-get", *told)
