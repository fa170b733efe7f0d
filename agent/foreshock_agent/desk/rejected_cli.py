"""`foreshock agent rejected`: messages that the settings could not read, read once more."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from foreshock_agent.options import CONFIG
from foreshock_wire.options import JSON

if TYPE_CHECKING:
    from pathlib import Path

    from foreshock_agent.desk.second_look import Looked, SecondLook

MEANS: Final = {
    "readable": "can be read now",
    "rejected": "are rejected still",
    "cut": "are too long: only their beginning is kept",
    "maybe_stored": "may be stored in part already, and are left alone",
}
EXAMPLES: Final = 5
"""Messages of one kind that are shown: the newest."""


@click.command(
    epilog="""\b
Examples:
  foreshock agent rejected --config agent.toml
  systemctl stop foreshock-agent
  foreshock agent rejected --config agent.toml --yes
  systemctl start foreshock-agent

Kept are the newest 1,000 rejected messages, so what is read again may be a part of what was lost.
While the agent is stopped the broker keeps what comes.
"""
)
@CONFIG
@JSON
@click.option("--yes", is_flag=True, help="Store what can be read now; the agent must be stopped.")
def rejected(config: Path, *, yes: bool, as_json: bool) -> None:
    """Read the rejected messages that are kept once more, by today's settings.

    Without --yes it only tells what would come of it, beside a running agent.
    """
    from foreshock_agent.clock import SystemClock  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.second_look import look, take  # noqa: PLC0415 - heavy
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy

    settings = load(config)
    found = look(settings)
    changed = take(settings, found.readable, SystemClock()) if yes and found.readable else {}
    report = _report(found) | {"changed": {name: n for name, n in changed.items() if n}}
    if as_json:
        click.echo(json.dumps(report))
        return
    _tell(found, report)
    if found.readable and not yes:
        click.echo("nothing was stored: stop the agent, then say --yes")


def _report(found: SecondLook) -> dict[str, Any]:
    from foreshock_agent.desk.second_look import Verdict  # noqa: PLC0415 - heavy

    verdicts = Counter(one.verdict for one in found.letters)
    return {
        "ever_rejected": found.rejected,
        "kept": len(found.letters),
        **{str(verdict): verdicts[verdict] for verdict in Verdict},
        "readings": sum(one.readings for one in found.letters),
    }


def _tell(found: SecondLook, report: dict[str, Any]) -> None:
    click.echo(f"{report['kept']:,} of {report['ever_rejected']:,} rejected messages are kept")
    for verdict, means in MEANS.items():
        of_kind = [one for one in found.letters if one.verdict == verdict]
        if of_kind:
            click.echo(f"{len(of_kind):>6,} {means}")
        for one in of_kind[-EXAMPLES:]:
            click.echo(f"       {one.letter.topic} {one.letter.shown}: {_why(one)}")
    for name, count in sorted(report["changed"].items()):
        click.echo(f"  {name:<40} {count:>+12,}")


def _why(one: Looked) -> str:
    return one.why or (f"{one.readings} readings" if one.readings else one.letter.reason)
