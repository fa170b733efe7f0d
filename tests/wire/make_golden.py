"""Write the golden bytes of samples that have none yet: `python -m tests.wire.make_golden`.

A golden file is a released message. It is never overwritten: a sample whose bytes differ from its
file is an error here and a failure in the tests, because gateways in the field send those bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.wire.samples import BATCHES, MESSAGES, SPEC

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "golden" / "v1"


def encoded() -> dict[str, bytes]:
    """Return file name -> bytes of every sample, as this code writes them."""
    return (
        {f"{name}.json": message.to_bytes() for name, message in MESSAGES.items()}
        | {f"{name}.fsb": batch.to_bytes() for name, batch in BATCHES.items()}
        | {"model_spec.json": SPEC.to_json().encode()}
    )


def write_missing(files: Mapping[str, bytes], folder: Path) -> list[str]:
    """Write the files that are not there yet; return their names."""
    missing = [name for name in files if not (folder / name).exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        (folder / name).write_bytes(files[name])
    return missing


def main() -> None:
    """Add what is missing and say so; never touch what is there."""
    added = write_missing(encoded(), FOLDER)
    sys.stdout.write(f"added {', '.join(added) or 'nothing'}; existing files are never rewritten\n")


if __name__ == "__main__":
    main()
