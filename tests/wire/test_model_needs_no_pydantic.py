"""The model's runtime imports with numpy (and onnxruntime, when it loads a file) and no more."""

from __future__ import annotations

import subprocess
import sys

BLOCKER = """
import sys
from importlib.abc import MetaPathFinder

STDLIB = sys.stdlib_module_names
ALLOWED = {"foreshock_wire", "numpy", "onnxruntime", "sitecustomize", *sys.argv[1:]}

class OnlyThese(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in STDLIB and top not in ALLOWED:
            raise ModuleNotFoundError(f"{name} is not on a small device", name=name)

sys.meta_path.insert(0, OnlyThese())
"""


def run(code: str, *allowed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code, *allowed],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_model_runtime_imports_without_pydantic() -> None:
    done = run(
        "import foreshock_wire.model, foreshock_wire.spec, foreshock_wire.batch\n"
        "import foreshock_wire.topics, foreshock_wire.ids\n"
        "assert 'pydantic' not in sys.modules and 'onnxruntime' not in sys.modules\n"
        "print('ready')"
    )
    assert done.stdout == "ready\n", done.stderr


def test_loading_bytes_that_are_no_model_needs_no_more_than_onnxruntime() -> None:
    done = run(
        "from foreshock_wire.model import Model\n"
        "from foreshock_wire.errors import NotAModelError\n"
        "try:\n    Model.load(b'not onnx')\n"
        "except NotAModelError as error:\n    print(error)"
    )
    assert done.stdout.startswith("not a model file"), done.stderr


def test_the_blocker_blocks() -> None:
    done = run("import foreshock_wire.messages")
    assert done.returncode == 1
    assert "pydantic is not on a small device" in done.stderr
