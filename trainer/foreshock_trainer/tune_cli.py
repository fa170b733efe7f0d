"""`foreshock trainer tune`: settings and features by nested cross-validation."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from foreshock_trainer.lean import import_xgboost_alone
from foreshock_trainer.learn_options import learn_options, learnt, show_machines
from foreshock_trainer.settings import LearnSettings
from foreshock_wire.options import FILE, JSON

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_trainer.tune import Step


@click.command(
    epilog="""\b
Examples:
  foreshock trainer tune --lake lake --study tuning.db --out tuned.json
  foreshock trainer tune --lake lake --study tuning.db --out tuned.json --trials 50 --outer 5
  foreshock trainer retrain --lake lake --tracking models --tuned tuned.json

Each of the outer folds, and the choice itself, costs --trials times --inner trainings. What was
killed goes on from the study file, to the same choice. The permanent test machines take no part.
"""
)
@learn_options
@click.option("--study", required=True, type=FILE, help="The SQLite file of the studies.")
@click.option("--out", required=True, type=FILE, help="Write the choice there, for --tuned.")
@click.option(
    "--trials", default=20, show_default=True, type=click.IntRange(1), help="In each study."
)
@click.option(
    "--outer",
    default=3,
    show_default=True,
    type=click.IntRange(2, 20),
    help="Folds of machines that say what choosing this way is worth.",
)
@click.option(
    "--inner",
    default=3,
    show_default=True,
    type=click.IntRange(2, 20),
    help="Folds of machines that choose.",
)
@JSON
def tune(
    *,
    study: Path,
    out: Path,
    trials: int,
    outer: int,
    inner: int,
    as_json: bool,
    **learn: Any,  # noqa: ANN401 - learn_options' values
) -> None:
    """Choose settings and features by inner folds of machines; outer ones tell their worth."""
    import_xgboost_alone()
    from foreshock_trainer.tune import TuneSettings  # noqa: PLC0415 - heavy
    from foreshock_trainer.tune import tune as run  # noqa: PLC0415 - heavy

    settings = LearnSettings(**learnt(learn))
    how = TuneSettings(study=study, trials=trials, outer=outer, inner=inner)
    found = run(settings, how, _show, show_machines)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
    for line in found.lines():
        click.echo(line, err=as_json)
    if as_json:
        click.echo(json.dumps(found.as_json()))


def _show(step: Step) -> None:
    """Say how far it is: on a terminal on one line that the next one overwrites."""
    line = f"trial {step.done} of {step.total} ({step.study}), best PR-AUC {step.best:.3f}"
    if sys.stderr.isatty():
        click.echo(f"\r{line}", err=True, nl=step.done == step.total)
    elif step.done == step.total or step.done % 10 == 0:
        click.echo(line, err=True)
