"""The design and the decisions name files; a file that moved leaves no wrong way behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
ROLES = ["agent", "converter", "fleet", "plant", "rules", "trainer", "wire"]


def stands(name: str) -> bool:
    """A role's folder stands for its import package: `agent/pipeline.py`, `agent/update/`."""
    role, _, rest = name.partition("/")
    return (ROOT / name).exists() or (
        role in ROLES and (ROOT / role / f"foreshock_{role}" / rest).exists()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_folders_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tops = "|".join(
        [*ROLES, "foreshock(?!/v1)", "benchmarks", "deploy", "docs", "scripts", "tests"]
    )
    named = re.findall(rf"`((?:{tops})/[a-z_0-9/.]*)`", text)
    linked = [
        str((page.parent / target).resolve().relative_to(ROOT))
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text)
    ]
    assert [name for name in [*named, *linked] if not stands(name)] == []
