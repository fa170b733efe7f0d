"""Write the locks in requirements/ from pyproject.toml: `make lock`, or `make lock ARGS=--upgrade`.

Each lock holds versions, markers and hashes and no URL, so that it installs from any index that
serves the same bytes. The smaller locks are constrained by the largest: versions agree everywhere.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
WHOLE = "dev"
# What goes into each lock, as arguments of `uv pip compile`; the whole comes first.
CONTENTS: dict[str, tuple[str, ...]] = {
    "dev": ("pyproject.toml", "--extra", "all", "--group", "dev"),
    "demo": ("pyproject.toml", "--extra", "demo", "--group", "build"),
    "agent": ("pyproject.toml", "--extra", "agent"),
    "uv": ("--group", "installer"),
}
PLATFORMS = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
PYTHONS = ("3.11", "3.12", "3.13")
HEADER = "# Written by `make lock` from pyproject.toml. Do not edit.\n"


def environments() -> list[dict[str, str]]:
    """Every platform and Python that the lock must serve, as marker environments."""
    return [
        {
            "sys_platform": system,
            "platform_system": system.capitalize(),
            "platform_machine": machine,
            "os_name": "posix",
            "python_version": python,
            "python_full_version": f"{python}.9",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        for (system, machine), python in itertools.product(PLATFORMS, PYTHONS)
    ]


def shortest_marker(marker: Marker | None) -> str | None:
    """Return a marker that says the same on every supported environment, "" for always.

    None stands for never. uv repeats the list of environments on every line; only what tells
    them apart is worth reading.
    """
    wanted = [marker is None or marker.evaluate(environment) for environment in environments()]
    if all(wanted) or not any(wanted):
        return "" if all(wanted) else None
    systems = ("", "sys_platform == 'linux'", "sys_platform == 'darwin'")
    pythons = ("", *(f"python_version {op} '{v}'" for v in PYTHONS[1:] for op in ("<", ">=")))
    for parts in itertools.product(systems, pythons):
        text = " and ".join(part for part in parts if part)
        if text and [Marker(text).evaluate(e) for e in environments()] == wanted:
            return text
    return str(marker)


def tidy(text: str) -> str:
    """Shorten the markers of a compiled lock and drop what no supported environment installs."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    lines = []
    for block in blocks:
        head, _, hashes = block.partition(" \\\n")
        requirement = Requirement(head)
        marker = shortest_marker(requirement.marker)
        if marker is not None:
            requirement.marker = Marker(marker) if marker else None
            lines.append(f"{requirement} \\\n{hashes}\n")
    return HEADER + "".join(lines)


def compile_lock(name: str, extra: list[str]) -> None:
    """Resolve one lock for all supported environments, wheels only, and write it."""
    path = LOCKS / f"{name}.txt"
    options = ["--universal", "--python-version", PYTHONS[0], "--fork-strategy", "fewest"]
    options += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate"]
    if name != WHOLE:
        options += ["--constraints", str(LOCKS / f"{WHOLE}.txt")]
    command = ["uv", "pip", "compile", "--quiet", *CONTENTS[name], *options, *extra]
    # A lock is made from the public index alone, whatever this machine is set to.
    clean = {k: v for k, v in os.environ.items() if "INDEX" not in k and "FIND_LINKS" not in k}
    subprocess.run(
        [*command, "--output-file", str(path)],
        check=True,
        cwd=ROOT,
        env=clean,
        stdout=subprocess.DEVNULL,
    )
    path.write_text(tidy(path.read_text("utf-8")), "utf-8")


def main() -> None:
    """Write all locks."""
    LOCKS.mkdir(exist_ok=True)
    for name in CONTENTS:
        compile_lock(name, sys.argv[1:])
        count = (LOCKS / f"{name}.txt").read_text("utf-8").count("==")
        print(f"requirements/{name}.txt: {count} packages")


if __name__ == "__main__":
    main()
