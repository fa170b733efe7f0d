"""`foreshock convert`: look into model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foreshock_wire.errors import ModelError
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from foreshock_wire.spec import ModelSpec

model_file = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE"
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group()
def cli() -> None:
    """Look into a model file, and prove that it repeats its golden windows."""


@cli.command(epilog="Example: foreshock convert inspect model.onnx")
@model_file
@as_json
def inspect(file: Path, *, as_json: bool) -> None:
    """Print what a model file says of itself."""
    model = Model.load(file)
    facts = {
        "sha256": model.sha256,
        "bytes": file.stat().st_size,
        **_without_arrays(json.loads(model.spec.to_json())),
    }
    click.echo(json.dumps(facts) if as_json else "\n".join(_lines(model.spec, facts)))


@cli.command(epilog="Example: foreshock convert verify model.onnx && echo fit to ship")
@model_file
@as_json
def verify(file: Path, *, as_json: bool) -> None:
    """Run the golden windows that travel in a model file; exit 1 unless it repeats them."""
    try:
        model = Model.load(file)
        model.self_test()
    except ModelError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "error": str(error)}))
        raise click.exceptions.Exit(1) from None
    golden = len(model.spec.golden.windows) if model.spec.golden else 0
    facts = {"ok": True, "sha256": model.sha256, "golden_windows": golden}
    click.echo(
        json.dumps(facts)
        if as_json
        else f"{model.spec.name} {model.sha256[:12]} repeats its {golden} golden windows"
    )


def _without_arrays(spec: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only a machine reads from the file itself: windows and their outputs."""
    golden = spec.pop("golden")
    spec.pop("baseline")
    return spec | {"golden_windows": golden["windows"]["shape"][0] if golden else 0}


def _lines(spec: ModelSpec, facts: dict[str, Any]) -> list[str]:
    hours = spec.length * spec.period_s / 3600
    rows = {
        "model": f"{spec.name}, {facts['bytes']} bytes, sha256 {facts['sha256']}",
        "window": f"{spec.length} samples of {spec.period_s:g} s ({hours:g} h), "
        f"every {spec.stride} samples, at least {spec.min_fill:.0%} filled",
        "channels": ", ".join(f"{c.id} [{c.unit}] {c.role}" for c in spec.channels),
        "derived": ", ".join(f"{d.id} = {d.formula} [{d.unit}]" for d in spec.derived) or "none",
        "features": f"{len(spec.features)}: {', '.join(_kinds(spec))}",
        "alarm": f"probability of a failure within {spec.horizon_h:g} h at or above "
        f"{spec.threshold:g} (margin {spec.threshold_margin:g})",
        "modes": ", ".join(spec.modes) or "none",
        "lead time": f"quantiles {', '.join(f'{q:g}' for q in spec.lead_time_quantiles) or 'none'}",
        "advice": "; ".join(f"{entry.mode}: {entry.text}" for entry in spec.advice) or "none",
        "provenance": ", ".join(f"{k} {v}" for k, v in spec.provenance.items()) or "none",
        "explanation": f"{_sampling(spec)}, {spec.explanation.rows} mixtures a window",
        "golden": f"{facts['golden_windows']} windows",
    }
    rows |= {f"alarm of {kind}": f"{limit:g}" for kind, limit in spec.thresholds.items()}
    return [f"{name:<12}{text}" for name, text in rows.items()]


def _sampling(spec: ModelSpec) -> str:
    sampled = spec.explanation.permutations
    return f"{sampled} sampled permutations" if sampled else "exact"


def _kinds(spec: ModelSpec) -> dict[str, None]:
    """Return the features' names without their channels, in order."""
    return dict.fromkeys(name.rpartition(".")[2] for name in spec.features)
