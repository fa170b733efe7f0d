"""`foreshock convert`: look into model files, prove them, bring models of other makers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from foreshock_converter.errors import UnsupportedModelError
from foreshock_wire.errors import ForeshockError
from foreshock_wire.model import Model
from foreshock_wire.options import FILE, JSON

existing = click.Path(exists=True, dir_okay=False, path_type=Path)
model_file = click.argument("file", type=existing, metavar="FILE")


@click.group()
def cli() -> None:
    """Look into a model file, prove it, or bring a model that you trained elsewhere."""


@cli.command(
    epilog="""\b
Examples:
  foreshock convert inspect model.onnx
  foreshock convert inspect model.onnx --html model.html
"""
)
@model_file
@click.option("--html", type=FILE, help="Draw it there: one page for a browser, or for paper.")
@JSON
def inspect(file: Path, html: Path | None, *, as_json: bool) -> None:
    """Print what a model file says of itself."""
    from foreshock_converter import inspection, inspection_page  # noqa: PLC0415 - loads onnx
    from foreshock_wire.files import write_for_people  # noqa: PLC0415 - one use

    data = file.read_bytes()
    model = Model.load(data)
    facts = inspection.facts(model, data)
    if html:
        write_for_people(html, inspection_page.page(model.spec, facts))
        click.echo(f"drawn in {html}", err=as_json)
    click.echo(json.dumps(facts) if as_json else "\n".join(inspection.lines(model.spec, facts)))


@cli.command(
    epilog="""\b
Examples:
  foreshock convert verify model.onnx && echo fit to ship
  foreshock convert verify model.onnx --boosters boosters.json
"""
)
@model_file
@click.option(
    "--boosters",
    type=existing,
    metavar="JSON",
    help="Prove again that the file is the model that was trained: boosters.json, which a "
    "retraining keeps beside it in the registry.",
)
@click.option(
    "--windows",
    type=existing,
    metavar="NPY",
    help="Windows float32[N, T, C] to prove it on, beside the generated ones.",
)
@JSON
def verify(file: Path, boosters: Path | None, windows: Path | None, *, as_json: bool) -> None:
    """Run the golden windows that travel in a model file; exit 1 unless it repeats them.

    With --boosters the whole parity report is made again, on 10,000 windows, absurd ones among
    them: every decision must be the trained model's.
    """
    try:
        facts, report = _verified(file, boosters, windows)
    except ForeshockError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "error": str(error)}))
        raise click.exceptions.Exit(1) from None
    if as_json:
        click.echo(json.dumps({"ok": True} | facts))
        return
    click.echo(f"{facts['sha256'][:12]} repeats its {facts['golden_windows']} golden windows")
    for line in report:
        click.echo(line)


def _verified(
    file: Path, boosters: Path | None, windows: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """Return what was verified, for a machine, and the parity report's lines for a person."""
    if windows is not None and boosters is None:
        raise UnsupportedModelError("--windows goes with --boosters: give the boosters.json too")
    data = file.read_bytes()
    model = Model.load(data)
    model.self_test()
    golden = len(model.spec.golden.windows) if model.spec.golden else 0
    facts: dict[str, Any] = {"sha256": model.sha256, "golden_windows": golden}
    if boosters is None:
        return facts, []
    from foreshock_converter.keepsake import recomputed  # noqa: PLC0415 - loads XGBoost

    report = recomputed(data, boosters.read_text(encoding="utf-8"), windows)
    report.require()
    return facts | {"parity": asdict(report)}, report.lines()


@cli.command(
    name="import",
    epilog="Example: foreshock convert import forest.skops --request forest.toml "
    "--windows rows.csv --out forest.onnx",
)
@click.argument("file", type=existing, metavar="ESTIMATOR")
@click.option(
    "--request",
    type=existing,
    required=True,
    metavar="TOML",
    help="What the estimator means: name, channels with units, period_s, length, features in its "
    "order, classes, threshold, horizon_h.",
)
@click.option(
    "--windows",
    type=existing,
    required=True,
    metavar="FILE",
    help="Windows like those it was trained on: .csv or .parquet with a column per channel (and "
    "`machine`), or .npy [N, T, C].",
)
@click.option("--out", type=FILE, required=True, metavar="FILE")
@click.option(
    "--trust",
    is_flag=True,
    help="Load a pickle, which runs the code in it, or unknown skops types.",
)
@JSON
def import_(
    file: Path, request: Path, windows: Path, out: Path, *, trust: bool, as_json: bool
) -> None:
    """Turn an estimator that you trained elsewhere into a model file that gateways run.

    Read are XGBoost (.json, .ubj), LightGBM (.txt), skops (.skops), and, with --trust, pickles of
    scikit-learn estimators and pipelines (.pkl, .joblib). The file is written only when it decides
    as the estimator does on 10,000 windows, missing and absurd readings among them.
    """
    try:
        from foreshock_converter.doors.admit import admit  # noqa: PLC0415 - an extra of its own
        from foreshock_converter.doors.request import read_request  # noqa: PLC0415
        from foreshock_converter.doors.tables import read_windows  # noqa: PLC0415

        asked = read_request(request)
        admitted = admit(file, asked, read_windows(windows, asked), trust=trust)
    except ModuleNotFoundError as error:
        raise UnsupportedModelError(
            f"{file.name} needs the Python package {error.name!r}, which is not installed: "
            "pip install 'foreshock[import]'"
        ) from None
    admitted.report.require()
    out.write_bytes(admitted.data)
    model = Model.load(admitted.data)
    if as_json:
        facts = {"out": str(out), "sha256": model.sha256, "notes": admitted.notes}
        click.echo(json.dumps(facts | {"parity": asdict(admitted.report)}))
        return
    click.echo("\n".join([*admitted.report.lines(), *(f"note        {n}" for n in admitted.notes)]))
    click.echo(f"wrote {out} ({len(admitted.data)} bytes, sha256 {model.sha256[:12]})")
