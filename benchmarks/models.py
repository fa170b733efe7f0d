"""Models on recorded data: a row each with its protocol, its tries and what idle answers get.

`FORESHOCK_DATA=DIR python -m benchmarks.models [--quick] [--json]`. A data set that is not in the
folder is named and left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchmarks.models_azure import azure_rows
from benchmarks.models_cmapss import cmapss_rows
from benchmarks.models_plant import plant_rows
from benchmarks.models_rows import ai4i_rows, gearbox_rows, skab_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.models_rows import Row

PLANT: Final = "plant"
ROWS: Final[dict[str, Callable[..., list[Row]]]] = {
    "ai4i2020": ai4i_rows,
    "skab": skab_rows,
    "gearbox": gearbox_rows,
    "azure_pdm": azure_rows,
    "cmapss": cmapss_rows,
    PLANT: plant_rows,
}
"""Which folder of the data makes which rows; the plant is made on the spot."""


def measure(root: Path, *, quick: bool) -> dict[str, Any]:
    """Return every row whose data is there, and the names of those that are not."""
    rows, absent, seconds = [], [], {}
    for name, make in ROWS.items():
        if name != PLANT and not (root / name).is_dir():
            absent.append(name)
            continue
        begin = time.perf_counter()
        made = make(root / name, quick=quick)
        seconds[name] = round(time.perf_counter() - begin, 1)
        rows += [asdict(row) for row in made]
        for row in made:
            print(_line(row), file=sys.stderr)
    return {"rows": rows, "absent": absent, "seconds": seconds}


def _line(row: Row) -> str:
    figures = ", ".join(f"{name} {value:.3f}" for name, value in row.figures.items())
    idle = ", ".join(f"{name} {value:.3f}" for name, value in row.baselines.items())
    return f"{row.data}: {figures} (idle: {idle}; tries {row.tries}, seeds {row.seeds})"


@click.command(epilog="Example: FORESHOCK_DATA=data python -m benchmarks.models --quick --json")
@click.option("--quick", is_flag=True, help="Fewer splits and rows: under half a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, quick: bool, as_json: bool) -> None:
    """Judge models on recorded data sets, each by an honest protocol."""
    result = measure(Path(os.environ.get("FORESHOCK_DATA", "data")), quick=quick)
    print(json.dumps(result) if as_json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
