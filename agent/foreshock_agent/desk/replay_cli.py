"""`foreshock agent replay`: the stored readings, judged once more by the gateway's own rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foreshock_agent.options import CONFIG
from foreshock_wire.options import JSON, TIME

if TYPE_CHECKING:
    from foreshock_agent.desk.replay import Replay
    from foreshock_agent.desk.replay_text import Tally

THERE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  foreshock agent replay --config agent.toml
  foreshock agent replay --config agent.toml --machine pump-1 --all \\
      --from 2024-02-01T00:00:00Z --to 2024-02-02T00:00:00Z
  foreshock agent replay --config agent.toml --model new.onnx
  foreshock agent replay --config agent.toml --settings tried.toml
  foreshock agent replay --config agent.toml --check --json

All that is stored is judged from its beginning, because an alarm depends on what came before; it
begins without an alarm, and nobody acknowledges one. --check compares what is still here: scores
that the lake has are deleted, and so are old readings, without which a window is another one.
"""
)
@CONFIG
@JSON
@click.option("--machine", "machines", multiple=True, help="Only this one; may be repeated.")
@click.option("--from", "begin", type=TIME, help="RFC 3339: windows that end after it.")
@click.option("--to", "end", type=TIME, help="RFC 3339: windows that end by then.")
@click.option("--model", type=THERE, help="A model file to try instead of the installed one.")
@click.option("--settings", type=THERE, help="Judge by the limits and delays of this file (TOML).")
@click.option("--all", "every", is_flag=True, help="Every window, not only changes of alarms.")
@click.option("--check", is_flag=True, help="Exit with 1 unless the stored scores are these.")
def replay(  # noqa: PLR0917 - click passes options by name
    config: Path,
    machines: tuple[str, ...],
    begin: int | None,
    end: int | None,
    model: Path | None,
    settings: Path | None,
    *,
    as_json: bool,
    every: bool,
    check: bool,
) -> None:
    """Judge what is stored once more: which windows, which alarms, and why. Reads only.

    It works beside a running agent. Exit codes: 0 done, 1 --check found other stored scores.
    """
    from foreshock_agent.desk.replay import Asked, installed, opened  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_text import Tally  # noqa: PLC0415 - heavy
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy
    from foreshock_wire.model import Model  # noqa: PLC0415 - heavy

    ours = load(config)
    asked = Asked.of(machines, begin, end)
    judge = installed(ours) if model is None else Model.load(model)
    tally = Tally()
    with opened(ours.database, load(settings) if settings else ours, judge, asked) as run:
        told = _play(run, tally, every=every, as_json=as_json)
        problems = tally.problems(run) if check else []
        if as_json:
            click.echo(json.dumps(tally.as_json(run) | told | {"problems": problems}))
        else:
            for line in tally.lines(run):
                click.echo(line)
    for problem in problems:
        click.echo(f"not equal: {problem}", err=True)
    if problems:
        raise SystemExit(1)


def _play(run: Replay, tally: Tally, *, every: bool, as_json: bool) -> dict[str, list[Any]]:
    """Run, and tell each window as it comes; return what the JSON has of them."""
    from foreshock_agent.desk.replay_text import alarm_lines, json_of, line_of  # noqa: PLC0415 - heavy

    told: dict[str, list[Any]] = {"alarms": []} | ({"judged": []} if every else {})
    hidden = not sys.stderr.isatty()
    with click.progressbar(
        run.of_chunks(), length=run.chunks, label="chunks", file=sys.stderr, hidden=hidden
    ) as chunks:
        for one in (one for chunk in chunks for one in chunk):
            tally.note(one)
            if as_json:
                told["alarms"] += [one.alarm.model_dump(mode="json")] if one.alarm else []
                if every:
                    told["judged"].append(json_of(one))
                continue
            for line in ([line_of(one)] if every else []) + list(alarm_lines(one)):
                click.echo(line)
    return told
