"""The options of every command that learns from the lake: which readings, and how they are cut."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from foreshock_trainer.fit_settings import FitSettings, LeadTimeHead
from foreshock_trainer.settings import DEFAULT_CHANNELS, DEFAULT_FEATURES, parse_channel
from foreshock_trainer.tuned import Tuned
from foreshock_wire.derived import parse_derived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.decorators import FC

_OF_FIT: Final = ("max_fpr", "miss_cost", "lead_time_head", "tuned")
_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--lake", required=True, metavar="DIR|URL", help="The lake's folder or URL."),
    click.option(
        "--channel",
        "channels",
        multiple=True,
        default=DEFAULT_CHANNELS,
        show_default=True,
        metavar="ID:UNIT[:ROLE]",
        help="A column of the window; give it once per channel, in order. The role is measured, or "
        "context for counters, ages and settings: never a reason of an alarm.",
    ),
    click.option(
        "--derived",
        multiple=True,
        metavar="ID=A*B:UNIT",
        help="A channel that the model computes: A*B, A/B or 'A - B', then *FACTOR for the unit.",
    ),
    click.option(
        "--features",
        multiple=True,
        default=DEFAULT_FEATURES,
        show_default=True,
        metavar="NAME",
        help="What a window becomes: a group, a feature such as rms, or a column such as "
        "torque.rms.",
    ),
    click.option("--period-s", default=1800.0, show_default=True, help="The sampling period."),
    click.option("--length", default=48, show_default=True, help="Samples in a window."),
    click.option("--stride", default=4, show_default=True, help="Samples between two windows."),
    click.option(
        "--min-fill",
        default=0.5,
        show_default=True,
        help="Share of its cells that a window must hold.",
    ),
    click.option("--horizon-h", default=48.0, show_default=True, help="How far ahead to look."),
    click.option("--lateness-s", default=0.0, show_default=True, help="As the gateways have it."),
    click.option("--seed", default=0, show_default=True, help="Of the training."),
    click.option(
        "--max-fpr",
        default=0.05,
        show_default=True,
        type=click.FloatRange(0, 1, min_open=True),
        help="The threshold has the best F1 below this false-positive rate (validation machines).",
    ),
    click.option(
        "--miss-cost",
        type=click.FloatRange(0, min_open=True),
        metavar="RATIO",
        help="A missed window costs so many false ones: take the cheapest threshold instead.",
    ),
    click.option(
        "--lead-time",
        "lead_time_head",
        default=LeadTimeHead.QUANTILE.value,
        show_default=True,
        type=click.Choice([head.value for head in LeadTimeHead]),
        help="aft also learns from failures that did not come: for fleets that seldom fail.",
    ),
)
VOUCHED = click.option(
    "--vouch",
    "vouched",
    multiple=True,
    metavar="CHANNEL",
    help="This channel looks like a leak and is none.",
)
TUNED = click.option(
    "--tuned",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings and features that `trainer tune --out` wrote; --features is not read then.",
)


def learn_options(command: FC) -> FC:
    """Give a command the options; it gets their values by name."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def learnt(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options' values as `LearnSettings` takes them.

    Raises:
        ForeshockError: a channel, how one is derived, or a tuned file cannot be read.
    """
    fit = FitSettings(
        max_fpr=options["max_fpr"],
        miss_cost=options["miss_cost"],
        lead_time_head=LeadTimeHead(options["lead_time_head"]),
    )
    found = {name: options[name] for name in options if name not in _OF_FIT}
    if tuned := options.get("tuned"):
        chosen = Tuned.read(tuned)
        fit, found["features"] = chosen.applied(fit), chosen.features
        found["tuned"] = chosen.summary()
    return {
        **found,
        "fit": fit,
        "channels": tuple(map(parse_channel, options["channels"])),
        "derived": tuple(map(parse_derived, options["derived"])),
    }


def show_machines(done: int, total: int) -> None:
    """Say on a terminal how far the reading is, on one line that the next one overwrites."""
    if sys.stderr.isatty():
        click.echo(f"\rreading machine {done} of {total}", err=True, nl=done == total)
