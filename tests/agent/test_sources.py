from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foreshock_agent.settings import SourceSettings
from foreshock_agent.sources import ADAPTERS, Sources
from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import Reading, Rejected
from tests.agent.rig import write_settings

if TYPE_CHECKING:
    from pathlib import Path

NOW_NS = 1_780_000_000_000_000_000
SOURCES = Sources(
    [
        SourceSettings(topic="plant/{machine}/sample"),
        SourceSettings(topic="ms/{machine}", time_unit="ms"),
        SourceSettings(topic="untimed/{machine}", time_key=None, channels=("temperature",)),
        SourceSettings(topic="plain/{machine}/{channel}", adapter="number"),
    ],
    max_message_bytes=1024,
)


def decode(topic: str, payload: bytes) -> list[Reading]:
    return [shown.reading for shown in SOURCES.show(topic, payload, NOW_NS)]


def refused(topic: str, payload: bytes) -> Rejected:
    with pytest.raises(RejectedMessageError) as caught:
        decode(topic, payload)
    return caught.value.reason


def test_a_json_object_gives_a_reading_a_channel_at_the_sources_time() -> None:
    assert decode("plant/pump-1/sample", b'{"t": 12, "temperature": 61.5, "pressure": 7}') == [
        Reading("pump-1", "temperature", 12, 61.5),
        Reading("pump-1", "pressure", 12, 7.0),
    ]


def test_other_units_of_time_become_nanoseconds() -> None:
    (reading,) = decode("ms/pump-1", b'{"t": 12, "pressure": 7}')
    assert reading.time_ns == 12_000_000


def test_without_a_stamp_the_arrival_stands_in_and_only_named_channels_are_taken() -> None:
    (reading,) = decode("untimed/pump-1", b'{"t": 12, "temperature": 1, "firmware": 3}')
    assert reading == Reading("pump-1", "temperature", NOW_NS, 1.0, own_time=False)


def test_a_plain_number_is_named_by_its_topic() -> None:
    (reading,) = decode("plain/pump-1/pressure", b" 7.25\n")
    assert reading == Reading("pump-1", "pressure", NOW_NS, 7.25, own_time=False)


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("plant/pump-1/sample", b"{", Rejected.MALFORMED),
        ("plant/pump-1/sample", b"[1]", Rejected.MALFORMED),
        ("plant/pump-1/sample", b"{}", Rejected.MALFORMED),
        ("plant/pump-1/sample", b'{"t": 1}', Rejected.MALFORMED),
        ("plant/pump-1/sample", b"[" * 1000, Rejected.MALFORMED),
        ("plant/pump-1/sample", b"\xff\xfe\x00", Rejected.MALFORMED),
        ("plant/pump-1/sample", b'{"t": "noon", "temperature": 1}', Rejected.BAD_TIME),
        ("plant/pump-1/sample", b'{"t": NaN, "temperature": 1}', Rejected.BAD_TIME),
        ("plant/pump-1/sample", b'{"t": 1e999, "temperature": 1}', Rejected.BAD_TIME),
        ("plant/pump-1/sample", b"x" * 1025, Rejected.OVERSIZE),
        ("plant/Pump 1/sample", b'{"t": 1, "temperature": 1}', Rejected.INVALID_ID),
        ("plain/pump-1/Pressure", b"1", Rejected.INVALID_ID),
        ("plain/pump-1/pressure", b"seven", Rejected.MALFORMED),
        ("plain/pump-1/pressure", b"", Rejected.MALFORMED),
        ("elsewhere/pump-1", b"1", Rejected.UNKNOWN_TOPIC),
    ],
)
def test_a_message_that_holds_no_reading_is_refused_with_its_reason(
    topic: str, payload: bytes, reason: Rejected
) -> None:
    assert refused(topic, payload) is reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"t": 1, "temperature": NaN}', Rejected.NOT_A_NUMBER),
        (b'{"t": 1, "temperature": "61"}', Rejected.NOT_A_NUMBER),
        (b'{"t": 1, "temperature": true}', Rejected.NOT_A_NUMBER),
        (b'{"t": 1, "temperature": 1e39}', Rejected.OUT_OF_RANGE),
        (b'{"t": 1, "temperature": 1' + b"0" * 400 + b"}", Rejected.NOT_A_NUMBER),
        (b'{"t": -1, "temperature": 1}', Rejected.BAD_TIME),
        (b'{"t": 9e18, "temperature": 1}', Rejected.BAD_TIME),
        (b'{"t": 1, "Temp \\ud800": 1}', Rejected.INVALID_ID),
    ],
)
def test_a_reading_that_could_not_be_kept_or_sent_is_refused(
    payload: bytes, reason: Rejected
) -> None:
    (shown,) = SOURCES.show("plant/pump-1/sample", payload, NOW_NS)
    assert shown.problem is reason


anything = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["t", "temperature", "x"]) | st.text(), inner, max_size=4
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
TOPICS = ["plant/m/sample", "ms/m", "untimed/m", "plain/m/c"]


@given(st.sampled_from(TOPICS) | st.text(max_size=20), anything)
@example("plant/m/sample", b'{"t": 1' + b"0" * 5000 + b', "x": 1}')
def test_any_bytes_give_readings_or_a_refusal_and_nothing_else(topic: str, payload: bytes) -> None:
    try:
        readings = SOURCES.show(topic, payload, NOW_NS)
    except RejectedMessageError:
        return
    assert readings
    for reading, problem in readings:
        if problem is None:
            assert math.isfinite(reading.value)
            assert 0 <= reading.time_ns < 2**62


def test_every_adapter_of_the_settings_is_registered() -> None:
    choices = SourceSettings.model_json_schema()["properties"]["adapter"]["enum"]
    assert sorted(choices) == sorted(ADAPTERS)


def sources_test(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foreshock", "agent", "sources", "test"]
    return subprocess.run(
        [*command, "--config", str(config), *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_shows_readings_and_what_would_become_of_them(tmp_path: Path) -> None:
    config = write_settings(tmp_path)
    payload = '{"t": 1704067200000000000, "temperature": 61.5, "pressure": NaN}'
    shown = sources_test(config, "plant/pump-1/sample", payload)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == "pump-1 temperature 2024-01-01T00:00:00Z 61.5"
    assert lines[1].endswith("rejected: not_a_number")


def test_the_command_speaks_json_and_refuses_without_a_traceback(tmp_path: Path) -> None:
    config = write_settings(tmp_path)
    shown = sources_test(config, "--json", "plain/pump-1/pressure", "7")
    (reading,) = json.loads(shown.stdout.splitlines()[-1])["readings"]
    assert (reading["machine"], reading["channel"], reading["value"]) == (
        "pump-1",
        "pressure",
        "7.0",
    )
    refusal = sources_test(config, "nowhere/pump-1", "7")
    assert refusal.returncode == 1
    assert refusal.stderr.startswith("error: unknown_topic")
