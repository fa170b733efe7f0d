"""What can be played: each entry makes its show from the options, and its summary afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import click

from foreshock.demo.replay import Replay, ReplaySetting
from foreshock.demo.replay_summary import replay_lines, summarise_replay
from foreshock.demo.report import report_lines
from foreshock.demo.story import Setting, Story
from foreshock.demo.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from foreshock.demo.accounts import Accounts
    from foreshock.demo.show import Show


class Programme(Protocol):
    """A show to be, and what is told when it is over."""

    def show(self, tell: Callable[[str], None]) -> Show:
        """Make the show; call it once."""

    def summary(self, show: Any) -> tuple[Accounts, Iterable[str]]:  # noqa: ANN401 - its own show
        """Return the summary of the show that was played, and its lines for people."""


class Simulated:
    """The simulated plant; `given` are the options that were given."""

    def __init__(self, folder: Path, given: Mapping[str, Any]) -> None:
        names = ("gateways", "broker", "machines", "past", "seconds", "seed")
        chosen = {name: given[name] for name in names if name in given}
        if "speed" in given:
            chosen["hours_per_s"] = given["speed"]
        self._setting = Setting(folder=folder, **chosen)

    def show(self, tell: Callable[[str], None]) -> Story:
        """Make the show."""
        return Story(self._setting, tell)

    def summary(self, show: Story) -> tuple[Accounts, Iterable[str]]:
        """Sum up."""
        progress = show.progress
        found = summarise(self._setting, show.watcher.seen, progress.models, progress.uplink_cut_s)
        return found, report_lines(found, self._setting)


class Recorded:
    """A recorded data set; `given` are the options that were given."""

    def __init__(self, folder: Path, name: str, given: Mapping[str, Any]) -> None:
        if "data" not in given:
            raise click.UsageError(
                f"--replay {name} needs --data DIR; get the files with "
                f"`foreshock trainer data fetch {name} --data DIR`"
            )
        names = ("gateways", "broker", "data", "subset", "machines", "past")
        chosen = {key: given[key] for key in names if key in given}
        if "speed" in given:
            chosen["hours_per_s"] = given["speed"]
        counter = not given.get("no_counter")
        self._setting = ReplaySetting(folder=folder, data_set=name, counter=counter, **chosen)

    def show(self, tell: Callable[[str], None]) -> Replay:
        """Make the show."""
        return Replay(self._setting, tell)

    def summary(self, show: Replay) -> tuple[Accounts, Iterable[str]]:
        """Sum up, and only now read what became of the test machines."""
        found = summarise_replay(self._setting, show)
        return found, replay_lines(found, self._setting)
