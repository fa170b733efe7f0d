"""The table of layers in pyproject.toml (who may import whom) holds, and the check can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "foreshock_wire": ("foreshock_rules", "pandas"),
    "foreshock_rules": ("foreshock_converter", "time", "socket"),
    "foreshock_agent": ("foreshock_trainer", "foreshock_converter", "mlflow"),
    "foreshock_fleet": ("foreshock_rules", "foreshock_agent"),
    "foreshock_plant": ("foreshock_converter", "foreshock_fleet"),
    "foreshock_trainer": ("foreshock_fleet", "foreshock"),
}


def lint_imports(config: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    entry = "import sys; sys.path[:0] = sys.argv[2:]; from importlinter import cli; "
    entry += "sys.exit(cli.lint_imports(config_filename=sys.argv[1], no_cache=True))"
    command = [sys.executable, "-c", entry, str(config), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_roles_import_only_what_the_design_allows() -> None:
    done = lint_imports(ROOT / "pyproject.toml")

    assert done.returncode == 0, done.stdout


def test_every_forbidden_import_is_found(tmp_path: Path) -> None:
    """Lint empty packages with the real contracts, after writing one wrong import after another."""
    roles = ("wire", "rules", "agent", "converter", "trainer", "fleet", "plant")
    for package in ("foreshock", *(f"foreshock_{role}" for role in roles)):
        (tmp_path / package).mkdir()
        wrong = "".join(f"import {name}\n" for name in FORBIDDEN.get(package, ()))
        (tmp_path / package / "__init__.py").write_text(wrong, "utf-8")

    done = lint_imports(ROOT / "pyproject.toml", tmp_path)

    assert done.returncode == 1, done.stdout
    for package, names in FORBIDDEN.items():
        for name in names:
            assert f"{package} is not allowed to import {name}" in done.stdout
