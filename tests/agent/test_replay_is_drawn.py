"""A replay's page: what was judged stands on it, whoever named things, and nothing from outside."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from foreshock_agent.cli import cli
from foreshock_agent.desk.replay import Asked, Judged
from foreshock_agent.desk.replay_page import DRAWN, page
from foreshock_agent.desk.replay_story import EPISODES, Side, Story
from foreshock_agent.desk.replay_text import Tally
from foreshock_agent.desk.stored_scores import Check
from foreshock_agent.judging.scoring import RULE, Due, Score
from foreshock_agent.update.store import ModelStore
from foreshock_rules.windows import Window
from foreshock_wire.messages import Alarm, AlarmState, Reason
from foreshock_wire.model import Model
from tests.agent.rig import AT, BEGIN_NS, MINUTE_NS, Bench, sample, uneven
from tests.sound_html import read

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</td><script>alert('\N{SNOWMAN}')</script>&\"'"
IN_2033 = 5_000_000


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, model_bytes: bytes) -> Path:
    """Two machines that alarm, one that the model cannot judge, a reading from 2033."""
    folder = tmp_path_factory.mktemp("gateway")
    bench = Bench(folder, Model.load(model_bytes), extra="[limits.temperature]\nhigh = 80\n")
    ModelStore(bench.settings.models).install(model_bytes)
    for machine in range(2):
        bench.take(*uneven(machine), machine=f"pump-{machine}")
    bench.take(*(sample(slot, noise=1.0) for slot in range(9)), machine="deaf")
    bench.take(sample(IN_2033, temperature=50.0), machine="pump-0")
    bench.close()
    return folder / "agent.toml"


def drawn(config: Path, *options: str) -> str:
    out = config.parent / "page.html"
    done = CliRunner().invoke(
        cli, ["replay", "--config", str(config), "--html", str(out), *options]
    )
    assert done.exit_code == 0, done.output
    return out.read_text("utf-8")


def test_every_alarm_stands_there_with_its_reason_and_what_to_do(config: Path) -> None:
    plain = CliRunner().invoke(cli, ["replay", "--config", str(config)]).stdout
    told = re.findall(r"ALARM \(episode \d+\), (.+)\n  what to do: (.+)", plain)
    shown = read(drawn(config))
    assert len(told) > 5
    for reason, advice in told:
        assert reason in shown
        assert advice in shown
    assert "equal to the stored scores, bit for bit" in shown
    assert "no model gave one" in shown  # of the machine that the model cannot judge
    assert "beyond the gateway's time: readings 1" in shown
    assert "limit 80" in shown


def test_what_was_tried_stands_beside_what_is_installed(
    config: Path, other_model_bytes: bytes
) -> None:
    other = config.parent / "other.onnx"
    other.write_bytes(other_model_bytes)
    shown = read(drawn(config, "--model", str(other)))
    assert Model.load(other_model_bytes).sha256 in shown
    for side in ("as tried", "as installed"):
        assert f"risk, {side}" in shown
        assert f"Alarms, {side}" in shown
    counts = {}
    for options in ([], ["--model", str(other)]):
        said = CliRunner().invoke(cli, ["replay", "--config", str(config), *options]).stdout
        counts[len(options)] = said.count("ALARM")
    assert f"\n{counts[2]}\n" in shown
    assert f"as installed: {counts[0]}" in shown


def test_only_what_is_asked_for_is_drawn(config: Path) -> None:
    shown = read(drawn(config, "--machine", "pump-1", "--from", "2024-01-01T01:00:00Z"))
    assert "pump-0" not in shown
    assert re.search(r"^2024-01-01 01:0\d:\d\d to 2024-01-01 0", shown, re.MULTILINE)


def test_a_page_needs_nothing_from_elsewhere_and_all_its_points_are_numbers(config: Path) -> None:
    text = drawn(config)
    assert not re.search(r"https?:|<script|<link|<img|url\(|@import|src=", text)
    points = re.findall(r'points="([^"]+)"', text)
    assert len(points) > 6
    for x, y in (pair.split(",") for line in points for pair in line.split()):
        assert 0 <= float(x) <= 1084
        assert 0 <= float(y) <= 112


def test_a_file_that_cannot_be_written_is_no_traceback(config: Path) -> None:
    where = config.parent / "nowhere" / "page.html"
    done = CliRunner().invoke(cli, ["replay", "--config", str(config), "--html", str(where)])
    assert "cannot be written: No such file" in str(done.exception)


def judged(machine: str, slot: int, alarm: Alarm | None = None) -> Judged:
    window = Window(BEGIN_NS + slot * MINUTE_NS, np.zeros((8, 2), np.float32))
    score = Score(Due(machine, window, 0), RULE, -1.0)
    state = alarm.state if alarm else AlarmState.NORMAL
    return Judged(score, state, alarm, Check.GONE)


def alarm_at(slot: int, **more: object) -> Alarm:
    at = BEGIN_NS + slot * MINUTE_NS
    raised = Alarm(
        site=AT.site,
        gateway=AT.gateway,
        machine="m",
        episode=slot,
        state=AlarmState.UNACKNOWLEDGED,
        time_ns=at,
        raised_ns=at,
        advice=HOSTILE,
        mode=HOSTILE,
        reasons=(Reason(channel="torque", contribution=1.0, value=2.0, unit=HOSTILE),),
    )
    return raised.model_copy(update=more)


def side_of(story: Story, **more: object) -> Side:
    side = Side("as installed", None, None, story, Tally(), {"torque": HOSTILE})
    return replace(side, **more)  # type: ignore[arg-type]


def test_no_name_from_outside_can_break_the_page() -> None:
    story = Story(Asked())
    story.note(judged(HOSTILE, 1, alarm_at(1)))
    curve = story.machines[HOSTILE].channels["torque"]
    curve.add(np.array([BEGIN_NS]), np.array([1.5]))
    story.machines[HOSTILE].channels[HOSTILE].add(np.array([BEGIN_NS]), np.array([np.nan]))
    text = page(AT, [side_of(story)], {}, BEGIN_NS)
    assert "<script" not in text
    assert read(text).count(HOSTILE) >= 5
    assert html.escape(HOSTILE) in text


def test_what_is_left_out_of_a_long_story_is_told() -> None:
    story = Story(Asked())
    for slot in range(0, 2 * (EPISODES + 7), 2):
        story.note(judged("m", slot, alarm_at(slot)))
        over = alarm_at(slot, time_ns=BEGIN_NS + (slot + 1) * MINUTE_NS, state=AlarmState.NORMAL)
        story.note(judged("m", slot + 1, over))
    for number in range(DRAWN):
        story.note(judged(f"n{number}", 1))
    text = page(AT, [side_of(story)], {}, BEGIN_NS)
    shown = read(text)
    assert f"The newest {EPISODES} of {EPISODES + 7} alarms" in shown
    assert f"Only the first {DRAWN} are drawn below" in shown
    assert text.count("<h2") == 1 + DRAWN
    assert all(episode.over_ns for episode in story.machines["m"].episodes)


def test_an_alarm_that_began_before_the_stretch_is_drawn_from_its_beginning() -> None:
    story = Story(Asked())
    over = alarm_at(1, time_ns=BEGIN_NS + 9 * MINUTE_NS, state=AlarmState.NORMAL)
    story.note(judged("m", 9, over))
    (episode,) = story.machines["m"].episodes
    assert (episode.raised_ns, episode.over_ns) == (BEGIN_NS + MINUTE_NS, over.time_ns)


def test_a_page_of_nothing_says_so() -> None:
    assert "machines" in read(page(AT, [side_of(Story(Asked()))], {}, BEGIN_NS))
