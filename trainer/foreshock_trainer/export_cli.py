"""`foreshock trainer data export` and `export-lake`: rows in their split, for other tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from foreshock_trainer.learn_options import learn_options, learnt, show_machines
from foreshock_wire.options import FOLDER, JSON

if TYPE_CHECKING:
    from pathlib import Path

OUT = click.option("--out", required=True, type=FOLDER, help="A folder that is not there yet.")


@click.command(
    epilog="""\b
Examples:
  foreshock trainer data export cmapss --subset FD001 --data var/data/cmapss --out var/fd001
  foreshock trainer data export ai4i2020 --data var/data/ai4i2020 --out var/ai4i --seed 3

manifest.json tells the columns, which of them are answers that no model may read, the split, the
embargo, counts, and the sums of what was read and written.
"""
)
@click.argument("name")
@click.option(
    "--data", "folder", required=True, type=FOLDER, help="The folder of the data set's files."
)
@click.option("--subset", help="Only this part of the data set.  [default: the first]")
@click.option("--seed", default=0, show_default=True, help="Of a split that draws lots.")
@OUT
@JSON
def export(
    name: str, folder: Path, subset: str | None, seed: int, out: Path, *, as_json: bool
) -> None:
    """Write a data set's official split: train, validation and test as Parquet and CSV."""
    from foreshock_trainer.datasets import data_set, read_sheet  # noqa: PLC0415 - heavy
    from foreshock_trainer.datasets.export import about  # noqa: PLC0415 - heavy
    from foreshock_trainer.datasets.export import export as write  # noqa: PLC0415 - heavy

    entry = data_set(name)
    chosen = entry.subsets[0] if subset is None else subset
    sheet = read_sheet(entry, folder, chosen, seed)
    _tell(write(sheet, out, about(entry, chosen, seed), _wrote), out, as_json=as_json)


@click.command(
    "export-lake",
    epilog="""\b
Examples:
  foreshock trainer data export-lake --lake var/lake --out var/windows
  foreshock trainer data export-lake --lake var/lake --horizon-h 24 --out var/windows --json
""",
)
@learn_options
@OUT
@JSON
def export_lake(
    *,
    out: Path,
    as_json: bool,
    **learn: Any,  # noqa: ANN401 - learn_options' values
) -> None:
    """Write the features of the lake's labelled windows, as `retrain` would learn from them."""
    from foreshock_trainer.datasets.export import export as write  # noqa: PLC0415 - heavy
    from foreshock_trainer.datasets.lake_sheet import about_lake, sheet_of  # noqa: PLC0415 - heavy
    from foreshock_trainer.gathered import gather  # noqa: PLC0415 - heavy
    from foreshock_trainer.settings import LearnSettings  # noqa: PLC0415 - heavy

    settings = LearnSettings(**learnt(learn))
    found = gather(settings, show_machines)
    said = about_lake(found, settings.lake, settings.horizon_h, settings.seed)
    _tell(write(sheet_of(found, settings.horizon_h), out, said, _wrote), out, as_json=as_json)


def _wrote(name: str) -> None:
    click.echo(f"wrote {name}", err=True)


def _tell(manifest: dict[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(manifest))
        return
    for part, counts in manifest["counts"].items():
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        click.echo(f"{part:<10} {told}")
    click.echo(f"left out   {manifest['left_out']:,} rows ({manifest['embargo']})")
    click.echo(f"label      {manifest['label']}; not features: {', '.join(manifest['answers'])}")
    click.echo(f"{out}: {manifest['split']}")
