"""The page of a run: its figures are the runs, it needs nothing from elsewhere, and it is sound."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_converter.parity import ParityReport
from foreshock_trainer.evaluate import NS_PER_HOUR, Report, Scored, report
from foreshock_trainer.gate import Verdict
from foreshock_trainer.page import page
from foreshock_trainer.result import Outcome
from foreshock_trainer.study import Seen, Single, Study, study
from foreshock_wire.pages.svg import Axes, nice_ticks, runs
from tests.sound_html import read

if TYPE_CHECKING:
    from collections.abc import Sequence

HOURS, HORIZON = 200, 48


def seen(machines: int = 6, *, lead_times: bool = True) -> Seen:
    """Machines that fail at the end of their 200 h, except the last one; one failure is missed."""
    chance = np.random.default_rng(2)
    hours = np.tile(np.arange(0, HOURS, 2), machines)
    machine = np.repeat(np.arange(machines), HOURS // 2)
    fails = machine < machines - 1
    label = fails & (hours >= HOURS - HORIZON)
    margin = np.where(label & (machine > 0), 3.0, -3.0) + chance.normal(0, 1, len(hours))
    lead = np.stack([HOURS - hours - 10.0, HOURS - hours, HOURS - hours + 10.0], axis=1)
    return Seen(
        scored=Scored(
            machine,
            hours * NS_PER_HOUR,
            label,
            np.where(fails, HOURS * NS_PER_HOUR, 0),
            margin,
        ),
        probability=1 / (1 + np.exp(-margin)),
        lead_time_h=lead if lead_times else lead[:, :0],
        lead_level=0.9,
        threshold=0.0,
        limit=0.5,
        horizon_h=HORIZON,
    )


def studied(what: Seen | None = None) -> tuple[Study, Report]:
    what = what or seen()
    single = Single("vibration.rms <= 3", report(what.scored, 1.0, NS_PER_HOUR).window)
    names = [f"pump-{i}" for i in range(6)]
    return study(what, names, single, seed=0), report(what.scored, 0.0, 2 * NS_PER_HOUR)


def outcome(*, name: str = "foreshock", reasons: Sequence[str] = ()) -> Outcome:
    long, short = studied()
    return Outcome(
        name=name,
        run="r1",
        version=None if reasons else 3,
        aliases=() if reasons else ("challenger",),
        sha256="ab" * 32,
        model_bytes=1000,
        verdict=Verdict(not reasons, tuple(reasons), 0.5, None),
        test=short,
        test_clean=short,
        test_later=None,
        validation_f1=0.9,
        champion=short,
        study=long,
        parity=ParityReport(
            kinds={}, **dict.fromkeys(ParityReport.__dataclass_fields__.keys() - {"kinds"}, 0)
        ),
        provenance={"lake_readings_version": "7"},
        counts={"test_machines": 6, "windows": 600},
        seconds={"train": 1.5},
    )


def test_a_page_tells_the_runs_figures_beside_the_idle_ones() -> None:
    run = outcome()
    text = read(page(run))
    window = run.test.window
    for figure in (f"{window.f1:.3f}", f"{window.fpr:.2%}", f"{window.random_f1:.3f}"):
        assert figure in text
    for words in ("passed the gate", "always no", "one threshold: vibration.rms <= 3", "pump-1"):
        assert words in text


def test_a_page_needs_nothing_from_elsewhere() -> None:
    text = page(outcome())
    assert not re.search(r"https?:|<script|<link|<img|url\(|@import|src=", text)


def test_a_refusal_is_told_with_its_reasons_and_no_name_can_break_the_page() -> None:
    text = page(outcome(reasons=["F1 0.1 < 0.2 & <script>alert(1)</script>"]))
    assert "<script" not in text
    assert "refused by the gate" in read(text)
    assert "F1 0.1 < 0.2 &" in read(text)


def test_all_drawn_points_are_numbers_inside_their_plot() -> None:
    text = page(outcome())
    assert "nan" not in text
    assert "inf" not in re.sub(r"[a-z]*inf[a-z]+|[a-z]+inf", "", text)
    for points in re.findall(r'points="([^"]+)"', text):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 280


def test_the_study_by_hand() -> None:
    long, short = studied()
    assert short.event.failures == 5
    assert long.lead_coverage == 1
    assert long.first_warning_h[0] == HORIZON
    assert math.isnan(long.first_warning_h[-1]) or long.first_warning_h[-1] < HORIZON
    assert long.band_h == (24, 48)
    assert long.band.positives == 5 * 12
    low, high = long.intervals["recall"]
    assert low < short.window.recall < high
    assert [len(line.failures_h) for line in long.timelines] == [1, 1, 1, 1, 1, 0]
    assert long.timelines[0].failures_h == (HOURS,)


def test_a_model_without_lead_times_says_nothing_about_them() -> None:
    long, _ = studied(seen(lead_times=False))
    assert math.isnan(long.lead_coverage)
    assert "coverage" not in long.brief()["lead_interval"]


def test_the_figures_beside_the_page_are_json_without_nan() -> None:
    run = replace(outcome(), counts={"test_machines": 6})
    told = json.loads(json.dumps(run.whole(), allow_nan=False))
    assert told["metrics"]["f1"] == pytest.approx(run.test.window.f1)
    assert told["baseline"]["random_f1"] == pytest.approx(run.test.window.random_f1)
    assert told["single_threshold"]["rule"] == "vibration.rms <= 3"
    assert len(told["curves"]["timelines"]) == 6
    assert set(told["calibration"]) == {"brier", "brier_constant", "ece"}
    assert told["curves"]["roc"]["x"] == list(asdict(run.study)["roc"]["x"])


def test_axes_put_points_where_they_belong() -> None:
    axes = Axes((1, 1000), (0, 1), log_x=True)
    left, right, middle = axes.at(1, 0), axes.at(1000, 1), axes.at(10**1.5, 0.5)
    assert middle == pytest.approx(((left[0] + right[0]) / 2, (left[1] + right[1]) / 2), abs=0.1)
    assert axes.at(5000, 2) == right


def test_ticks_are_round_and_runs_are_runs() -> None:
    assert nice_ticks(96) == [0, 20, 40, 60, 80]
    assert nice_ticks(0) == [0]
    assert runs([True, True, False, True]) == [(0, 2), (3, 4)]
