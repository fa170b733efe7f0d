"""`foreshock trainer data`: real data sets, from their origin to recorded telemetry."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from foreshock_trainer.export_cli import export, export_lake
from foreshock_wire.errors import ForeshockError
from foreshock_wire.options import FOLDER, JSON

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foreshock_trainer.datasets.base import DataFile, DataSet
    from foreshock_trainer.datasets.files import Found

NAME = click.argument("name")
SUBSET = click.option("--subset", help="Only this part of the data set.")
DATA = click.option(
    "--data",
    "folder",
    required=True,
    type=FOLDER,
    help="The folder of its files; each plain or as .gz.",
)


@click.group()
def data() -> None:
    """Real data sets: list, fetch, verify, record, export. None comes with Foreshock."""


for command in (export, export_lake):
    data.add_command(command)


@data.command("list", epilog="Example: foreshock trainer data list")
@JSON
def list_sets(*, as_json: bool) -> None:
    """List the data sets that are known: origin, licence, protocol and files."""
    from foreshock_trainer.datasets import REGISTRY  # noqa: PLC0415 - heavy

    if as_json:
        click.echo(json.dumps({"data_sets": [_as_json(one) for one in REGISTRY.values()]}))
        return
    for one in REGISTRY.values():
        click.echo(f"{one.name}: {one.title}")
        for title, text in _about(one):
            click.echo(f"  {title:<9} {text}")


@data.command(
    epilog="""\b
Examples:
  foreshock trainer data verify cmapss --data var/data/cmapss
  foreshock trainer data verify cmapss --data var/data/cmapss --subset FD001 --json

The exit code is 1 when a file is missing, partial or altered.
"""
)
@NAME
@DATA
@SUBSET
@JSON
def verify(name: str, folder: Path, subset: str | None, *, as_json: bool) -> None:
    """Check every file's size and SHA-256 against the published ones."""
    from foreshock_trainer.datasets import data_set, files  # noqa: PLC0415 - heavy

    entry = data_set(name)
    found = files.verify(folder, entry.files_of(subset))
    bad = [one for one in found if one.state is not files.State.WHOLE]
    _tell_states(found, as_json=as_json)
    if bad:
        raise ForeshockError(
            f"{len(bad)} of {len(found)} files are not as published: "
            f"{files.way_out(folder, entry)}, or --from a folder that has them"
        )


@data.command(
    epilog="""\b
Examples:
  foreshock trainer data fetch cmapss --data var/data/cmapss
  foreshock trainer data fetch cmapss --data var/data/cmapss --from ~/Downloads/CMAPSSData

What is there and whole is left alone; a download that broke off goes on where it stopped.
"""
)
@NAME
@DATA
@SUBSET
@click.option("--from", "source", type=FOLDER, help="Take the files out of this folder instead.")
@JSON
def fetch(
    name: str, folder: Path, subset: str | None, source: Path | None, *, as_json: bool
) -> None:
    """Download a data set from its origin, or take it from a folder, and check every file."""
    from foreshock_trainer.datasets import data_set  # noqa: PLC0415 - heavy
    from foreshock_trainer.datasets.fetch import take_from  # noqa: PLC0415 - heavy

    entry = data_set(name)
    wanted = entry.files_of(subset)
    fresh = take_from(source, folder, wanted) if source else _download(entry, folder, wanted)
    if as_json:
        click.echo(json.dumps({"name": name, "fetched": fresh, "folder": str(folder)}))
    else:
        click.echo(f"{len(fresh)} of {len(wanted)} files are new in {folder}; all are whole")


@data.command(
    epilog="""\b
Examples:
  foreshock trainer data record cmapss --subset FD001 --data var/data/cmapss --out var/fd001
  foreshock trainer ingest --from var/fd001/train --lake var/lake
  foreshock plant replay --from var/fd001/test --broker works/gw-1=127.0.0.1:1883 --out var/sent
"""
)
@NAME
@DATA
@SUBSET
@click.option("--out", required=True, type=FOLDER, help="A new folder.")
@click.option(
    "--train-machines",
    type=click.IntRange(min=1),
    help="Only so many, evenly spread.  [default: all]",
)
@click.option(
    "--test-machines",
    type=click.IntRange(min=1),
    help="Only so many, evenly spread.  [default: all]",
)
@JSON
def record(
    name: str,
    folder: Path,
    subset: str | None,
    out: Path,
    *,
    train_machines: int | None,
    test_machines: int | None,
    as_json: bool,
) -> None:
    """Write training machines (with failures) and test machines (without) as recorded telemetry.

    Channels that do not vary on the training machines are left out, by name.
    """
    from foreshock_trainer.datasets import data_set, read_fleet  # noqa: PLC0415 - heavy
    from foreshock_trainer.datasets.record import record as write  # noqa: PLC0415 - heavy

    fleet = read_fleet(data_set(name), folder, subset).some(train_machines, test_machines)
    done = write(fleet, out, site=name)
    if as_json:
        click.echo(json.dumps(done.as_json()))
        return
    click.echo(
        f"{done.train_machines} training and {done.test_machines} test machines, "
        f"{done.readings:,} readings in {out}"
    )
    click.echo(f"channels: {', '.join(done.channels)}")
    click.echo(f"left out: {', '.join(done.left_out)}")


def _about(one: DataSet) -> list[tuple[str, str]]:
    parts = ", ".join(subset for subset in one.subsets if subset)
    size = sum(file.size_bytes for file in one.files)
    return [
        ("origin", one.page),
        *([("download", one.download or "by hand, from the origin's page")] if one.files else []),
        ("licence", one.licence),
        *([("subsets", parts)] if parts else []),
        *(
            [("files", f"{len(one.files)}, {size / 1e6:.1f} MB uncompressed")]
            if one.files
            else [("files", "none: it is made here")]
        ),
        ("protocol", one.protocol),
    ]


def _as_json(one: DataSet) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "page": one.page,
        "download": one.download,
        "licence": one.licence,
        "protocol": one.protocol,
        "files": [
            {
                "name": file.name,
                "subset": file.subset,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for file in one.files
        ],
    }


def _tell_states(found: Sequence[Found], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"files": [one.as_json() for one in found]}))
        return
    for one in found:
        click.echo(f"{one.state:<8} {one.name}{': ' if one.problem else ''}{one.problem}")


def _download(entry: DataSet, folder: Path, wanted: Sequence[DataFile]) -> list[str]:
    from foreshock_trainer.datasets.fetch import fetch as download  # noqa: PLC0415 - heavy

    hidden = not sys.stderr.isatty()
    label = f"Fetching {entry.name}"
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:

        def moved(done: int, whole: int | None) -> None:
            bar.length = max(whole or done, 1)
            bar.update(done - bar.pos)

        return download(entry, folder, wanted, moved)
