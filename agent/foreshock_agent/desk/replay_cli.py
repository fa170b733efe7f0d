"""`foreshock agent replay`: the stored readings, judged once more by the gateway's own rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from foreshock_agent.options import CONFIG
from foreshock_wire.options import FILE, JSON, TIME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from foreshock_agent.desk.replay import Asked, Judged, Replay
    from foreshock_agent.desk.replay_story import Side, Story
    from foreshock_agent.desk.replay_text import Tally
    from foreshock_agent.settings import Settings
    from foreshock_wire.model import Model

THERE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="""\b
Examples:
  foreshock agent replay --config agent.toml
  foreshock agent replay --config agent.toml --machine pump-1 --all \\
      --from 2024-02-01T00:00:00Z --to 2024-02-02T00:00:00Z
  foreshock agent replay --config agent.toml --model new.onnx
  foreshock agent replay --config agent.toml --settings tried.toml
  foreshock agent replay --config agent.toml --html replay.html
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
@click.option("--html", type=FILE, help="Draw it there: one page for a browser, or for paper.")
@click.option("--all", "every", is_flag=True, help="Every window, not only changes of alarms.")
@click.option("--check", is_flag=True, help="Exit with 1 unless the stored scores are these.")
def replay(  # noqa: PLR0917 - click passes options by name
    config: Path,
    machines: tuple[str, ...],
    begin: int | None,
    end: int | None,
    model: Path | None,
    settings: Path | None,
    html: Path | None,
    *,
    as_json: bool,
    every: bool,
    check: bool,
) -> None:
    """Judge what is stored once more: which windows, which alarms, and why. Reads only.

    It works beside a running agent. With --model or --settings, a page has beside what these say
    what the gateway says. Exit codes: 0 done, 1 --check found other stored scores.
    """
    from foreshock_agent.desk.replay import Asked, installed, opened  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_story import Story  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_text import Tally  # noqa: PLC0415 - heavy
    from foreshock_agent.settings import load  # noqa: PLC0415 - heavy
    from foreshock_wire.model import Model  # noqa: PLC0415 - heavy

    ours = load(config)
    asked = Asked.of(machines, begin, end)
    judge = installed(ours) if model is None else Model.load(model)
    tally, story = Tally(), Story(asked) if html else None
    terms, hear = load(settings) if settings else ours, story.hear if story else None
    with opened(ours.database, terms, judge, asked, hear) as run:
        told = _play(run, tally, story, every=every, as_json=as_json)
        problems = tally.problems(run) if check else []
        if as_json:
            click.echo(json.dumps(tally.as_json(run) | told | {"problems": problems}))
        else:
            for line in tally.lines(run):
                click.echo(line)
    if html and story:
        tried = model is not None or settings is not None
        side = _side("as tried" if tried else "as installed", judge, story, tally)
        _draw(html, ours, terms, [side, *([_installed(ours, asked)] if tried else [])])
        click.echo(f"drawn in {html}", err=as_json)
    for problem in problems:
        click.echo(f"not equal: {problem}", err=True)
    if problems:
        raise SystemExit(1)


def _play(
    run: Replay, tally: Tally, story: Story | None, *, every: bool, as_json: bool
) -> dict[str, list[Any]]:
    """Run, and tell each window as it comes; return what the JSON has of them."""
    from foreshock_agent.desk.replay_text import alarm_lines, json_of, line_of  # noqa: PLC0415 - heavy

    told: dict[str, list[Any]] = {"alarms": []} | ({"judged": []} if every else {})
    for one in _windows(run):
        tally.note(one)
        if story:
            story.note(one)
        if as_json:
            told["alarms"] += [one.alarm.model_dump(mode="json")] if one.alarm else []
            if every:
                told["judged"].append(json_of(one))
            continue
        for line in ([line_of(one)] if every else []) + list(alarm_lines(one)):
            click.echo(line)
    return told


def _windows(run: Replay) -> Iterator[Judged]:
    hidden = not sys.stderr.isatty()
    with click.progressbar(
        run.of_chunks(), length=run.chunks, label="chunks", file=sys.stderr, hidden=hidden
    ) as chunks:
        for chunk in chunks:
            yield from chunk


def _installed(ours: Settings, asked: Asked) -> Side:
    """Judge once more as the gateway does, to stand beside what was tried."""
    from foreshock_agent.desk.replay import installed, opened  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_story import Story  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_text import Tally  # noqa: PLC0415 - heavy

    model, story, tally = installed(ours), Story(asked), Tally()
    with opened(ours.database, ours, model, asked) as run:
        for one in _windows(run):
            tally.note(one)
            story.note(one)
    return _side("as installed", model, story, tally)


def _side(name: str, model: Model | None, story: Story, tally: Tally) -> Side:
    from foreshock_agent.desk.replay_story import Side  # noqa: PLC0415 - heavy

    if model is None:
        return Side(name, None, None, story, tally)
    units = {channel.id: channel.unit for channel in model.spec.channels}
    return Side(name, model.sha256, model.spec.threshold, story, tally, units)


def _draw(path: Path, ours: Settings, terms: Settings, sides: list[Side]) -> None:
    from foreshock_agent.clock import SystemClock  # noqa: PLC0415 - heavy
    from foreshock_agent.desk.replay_page import page  # noqa: PLC0415 - heavy
    from foreshock_wire.files import write_for_people  # noqa: PLC0415 - heavy

    write_for_people(path, page(ours.at, sides, terms.limits, SystemClock().now_ns()))
