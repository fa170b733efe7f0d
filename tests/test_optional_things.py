"""What is absent is told, never hidden: a table at the end, or a failure where it is required."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

PLUGIN = (Path(__file__).parent / "conftest.py").read_text("utf-8")

NEEDY_TESTS = """
    import pytest

    @pytest.mark.needs("mosquitto")
    def test_marked():
        raise AssertionError("ran without the broker")

    def test_through_a_fixture(mosquitto_binary):
        raise AssertionError("ran without the broker")

    def test_that_needs_nothing():
        pass
"""


@pytest.fixture
def run_without_mosquitto(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    pytester.makeconftest(PLUGIN.replace('_program("mosquitto")', '_program("no-such-broker")'))
    pytester.makeini("[pytest]\nmarkers = needs(name): needs it\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(NEEDY_TESTS)
    monkeypatch.delenv("FORESHOCK_REQUIRE", raising=False)
    return pytester


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["one-process", "xdist"])
def test_an_absent_thing_is_a_skip_that_ends_in_the_table(
    run_without_mosquitto: pytest.Pytester, workers: Sequence[str]
) -> None:
    result = run_without_mosquitto.runpytest(*workers)

    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        ["*optional things that were absent*", "mosquitto * 2  apt-get install mosquitto*"]
    )


@pytest.mark.parametrize("required", ["all", "chromium,mosquitto"])
def test_a_required_thing_that_is_absent_fails(
    run_without_mosquitto: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    monkeypatch.setenv("FORESHOCK_REQUIRE", required)

    result = run_without_mosquitto.runpytest()

    # A marker and a fixture both stop the test in its set-up, which pytest counts as an error.
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*mosquitto is absent; apt-get install mosquitto*"])


def test_requiring_another_thing_changes_nothing(
    run_without_mosquitto: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESHOCK_REQUIRE", "docker")

    run_without_mosquitto.runpytest().assert_outcomes(passed=1, skipped=2)


def test_nothing_absent_means_no_table(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile("def test_it(): pass")

    result = pytester.runpytest()

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*optional things*")
