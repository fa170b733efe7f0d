from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foreshock_agent.intake.columns import Columns
from foreshock_agent.judging import tracks
from foreshock_agent.settings import SourceSettings
from foreshock_agent.sources import ADAPTERS, Sources
from foreshock_agent.sources.base import RejectedMessageError
from foreshock_rules.readings import Reading, Rejected
from foreshock_wire.batch import Readings
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
        SourceSettings(topic="batch/{machine}", adapter="json_batch", time_unit="us"),
        SourceSettings(
            topic="deep/{machine}",
            adapter="json_path",
            time_key="head.at",
            paths={"temperature": "data.0.v", "pressure": "data.1.v"},
        ),
        SourceSettings(topic="binary/{machine}", adapter="foreshock_batch"),
    ],
    max_message_bytes=1024,
)


def binary(machine: str = "m", channel: str = "temperature", value: float = 1.5) -> bytes:
    return Readings(
        epoch="a",
        first_seq=7,
        machines=[machine],
        channels=["x", channel],
        machine=np.zeros(2, np.uint16),
        channel=np.array([1, 0], np.uint16),
        time_ns=np.array([5, 6], np.int64),
        received_ns=np.zeros(2, np.int64),
        value=np.array([value, 2.5], np.float32),
        flags=np.zeros(2, np.uint8),
    ).to_bytes()


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


def test_columns_and_rows_give_the_same_readings() -> None:
    columns = b'{"t": [1, 2], "temperature": [3.5, 4], "pressure": [null, 5.5]}'
    rows = b'[{"t": 1, "temperature": 3.5}, {"t": 2, "temperature": 4, "pressure": 5.5}]'
    expected = [
        Reading("m", "pressure", 2000, 5.5),
        Reading("m", "temperature", 1000, 3.5),
        Reading("m", "temperature", 2000, 4.0),
    ]
    assert sorted(decode("batch/m", columns)) == sorted(decode("batch/m", rows)) == expected


def test_a_bad_time_or_value_in_a_batch_spoils_nothing_else() -> None:
    shown = SOURCES.show("batch/m", b'{"t": [1, "noon", 3], "temperature": [1, 2, "x"]}', NOW_NS)
    assert [problem for _, problem in shown] == [None, Rejected.BAD_TIME, Rejected.NOT_A_NUMBER]
    shown = SOURCES.show("batch/m", b'[{"temperature": 1}, {"t": 2, "Not An Id": 1}]', NOW_NS)
    assert [problem for _, problem in shown] == [Rejected.BAD_TIME, Rejected.INVALID_ID]


def test_values_are_found_by_their_paths() -> None:
    payload = b'{"head": {"at": 9}, "data": [{"v": 1.5}, {"w": 2}]}'
    assert decode("deep/m", payload) == [Reading("m", "temperature", 9, 1.5)]
    (untimed,) = decode("deep/m", b'{"data": [{"v": 1.5}]}')
    assert untimed == Reading("m", "temperature", NOW_NS, 1.5, own_time=False)


def test_a_telemetry_batch_gives_its_readings() -> None:
    assert decode("binary/m", binary()) == [
        Reading("m", "temperature", 5, 1.5),
        Reading("m", "x", 6, 2.5),
    ]


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
        ("batch/m", b"7", Rejected.MALFORMED),
        ("batch/m", b"[]", Rejected.MALFORMED),
        ("batch/m", b"[1]", Rejected.MALFORMED),
        ("batch/m", b'[{"t": 1}]', Rejected.MALFORMED),
        ("batch/m", b'{"temperature": [1]}', Rejected.BAD_TIME),
        ("batch/m", b'{"t": [1], "temperature": [1, 2]}', Rejected.MALFORMED),
        ("batch/m", b'{"t": [1], "temperature": 1}', Rejected.MALFORMED),
        ("batch/m", b'{"t": [1], "temperature": [null]}', Rejected.MALFORMED),
        ("batch/m", b'{"t": [], "temperature": []}', Rejected.MALFORMED),
        ("deep/m", b'{"data": 7}', Rejected.MALFORMED),
        ("deep/m", b'{"head": {"at": "noon"}, "data": [{"v": 1}]}', Rejected.BAD_TIME),
        ("binary/m", binary()[:-1], Rejected.MALFORMED),
        ("binary/other", binary(), Rejected.INVALID_ID),
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
TOPICS = ["plant/m/sample", "ms/m", "untimed/m", "plain/m/c", "batch/m", "deep/m", "binary/m"]


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


@given(st.sampled_from(TOPICS), anything | st.just(binary()))
def test_what_is_refused_has_taken_nothing_before(topic: str, payload: bytes) -> None:
    columns = Columns()
    try:
        SOURCES.decode(topic, payload, NOW_NS, columns)
    except RejectedMessageError:
        assert len(columns) == 0
    else:
        assert len(columns) > 0


def test_a_machine_that_invents_channels_is_bounded_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracks, "MAX_TRACKS", 3)
    sources = Sources([SourceSettings(topic="plant/{machine}/sample")], 1024)
    shown = sources.show("plant/m/sample", b'{"a": 1, "b": 2, "c": 3, "d": 4, "a": 5}', NOW_NS)
    assert [problem for _, problem in shown] == [None, None, None, Rejected.INVALID_ID]
    assert len(sources.tracks) == 3
    sources.show("plant/n/sample", b'{"a": 1, "b": 2}', NOW_NS)
    (told,) = caplog.messages
    assert "3 channels are known: a new one of m is refused" in told


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
