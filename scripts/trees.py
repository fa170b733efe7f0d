"""What the scripts share that make a Debian tree and run something in it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def quiet(*command: str, folder: Path | None = None) -> None:
    """Run a command, in `folder` if need be; what it says is told only when it fails."""
    done = subprocess.run(
        command,
        env=os.environ | {"PATH": SEARCHED},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=folder,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout[-2000:]}")


def say(text: str) -> None:
    """Tell progress where it does not disturb the result."""
    print(f"==> {text}", file=sys.stderr, flush=True)
