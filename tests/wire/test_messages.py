"""Control messages: round trips, what is kept, and what is refused and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_wire.errors import MessageError
from foreshock_wire.messages import (
    Alarm,
    AlarmCommand,
    Gap,
    Message,
    RecordBatch,
    Status,
    UpAck,
    UpRecord,
)
from foreshock_wire.updates import Desired, Report
from tests.wire.samples import ALARM, MESSAGES, SHA

TYPES = sorted({type(sample) for sample in MESSAGES.values()}, key=lambda kind: kind.__name__)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def changed(message: Message, **fields: object) -> bytes:
    return json.dumps(json.loads(message.to_bytes()) | fields).encode()


@pytest.mark.parametrize("name", MESSAGES)
def test_unknown_fields_are_kept(name: str) -> None:
    sample = MESSAGES[name]
    payload = changed(sample, from_the_future={"a": [1, None]})
    kept = json.loads(type(sample).from_bytes(payload).to_bytes())
    assert kept == json.loads(payload)


def test_unknown_fields_inside_a_list_are_kept() -> None:
    plain = json.loads(ALARM.to_bytes())
    plain["reasons"][0]["rank"] = 1
    assert json.loads(Alarm.from_bytes(json.dumps(plain)).to_bytes()) == plain


def test_enums_travel_as_strings() -> None:
    plain = json.loads(ALARM.to_bytes())
    assert (plain["state"], plain["priority"]) == ("unacknowledged", "high")


@given(body=st.dictionaries(st.text(), JSON_VALUES, max_size=4), seq=st.integers(1, 2**63 - 1))
def test_records_round_trip(body: dict[str, Any], seq: int) -> None:
    record = UpRecord(seq=seq, body=body)
    assert UpRecord.from_bytes(record.to_bytes()) == record


@given(payload=st.binary(max_size=200), kind=st.sampled_from(TYPES))
def test_any_bytes_are_refused_as_a_message_error(payload: bytes, kind: type[Message]) -> None:
    with pytest.raises(MessageError, match=kind.__name__):
        kind.from_bytes(payload)


@given(value=JSON_VALUES, kind=st.sampled_from(TYPES))
def test_any_json_parses_or_is_a_message_error(value: object, kind: type[Message]) -> None:
    payload = json.dumps(value)
    try:
        message = kind.from_bytes(payload)
    except MessageError:
        return
    assert kind.from_bytes(message.to_bytes()) == message


@given(data=st.data())
def test_any_field_with_any_value_parses_or_is_a_message_error(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from(list(MESSAGES.values())))
    field = data.draw(st.sampled_from(sorted(type(sample).model_fields)))
    payload = changed(sample, **{field: data.draw(JSON_VALUES)})
    try:
        message = type(sample).from_bytes(payload)
    except MessageError:
        return
    assert type(sample).from_bytes(message.to_bytes()) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"seq": 1, "body": {"deep": ' + b"[" * 100_000,
        b'{"seq": 1, "body": {"n": ' + b"9" * 10_000 + b"}}",
        b'{"seq": 1, "body": {"n": NaN}}',
        b'{"seq": 1, "body": {"n": 1e999}}',
        b'{"seq": 1, "body": {"s": "\\ud800"}}',
        b'{"seq": "1", "body": {}}',
        b'{"seq": true, "body": {}}',
        b'{"seq": 1.0, "body": {}}',
        b'{"seq": 0, "body": {}}',
        b'{"seq": 9223372036854775808, "body": {}}',
        b'{"v": 2, "seq": 1, "body": {}}',
        b'{"v": "1", "seq": 1, "body": {}}',
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(MessageError, match=r"^UpRecord: \S+: .+"):
        UpRecord.from_bytes(payload)


@pytest.mark.parametrize(
    ("kind", "sample", "fields", "named"),
    [
        (Alarm, "alarm", {"site": "up"}, "reserved"),
        (Alarm, "alarm", {"machine": "no/slash"}, "machine"),
        (Alarm, "alarm", {"machine": "x\n"}, "machine"),
        (Alarm, "alarm", {"state": "angry"}, "state"),
        (Alarm, "alarm", {"probability": "NaN"}, "probability"),
        (Alarm, "alarm", {"lead_time_h": [1, 2]}, "lead_time_h"),
        (Alarm, "alarm", {"model": SHA.upper()}, "model"),
        (Alarm, "alarm", {"time_ns": 2**63}, "time_ns"),
        (AlarmCommand, "alarm_command", {"action": "explode"}, "action"),
        (Desired, "desired", {"counter": 0}, "counter"),
        (Desired, "desired", {"model": {"sha256": SHA}}, "model.size"),
        (Gap, "gap", {"first_seq": 9, "last_seq": 8}, "last_seq 8 lies before first_seq 9"),
        (RecordBatch, "record_batch", {"records": []}, "records"),
        (RecordBatch, "record_batch", {"epoch": "../etc"}, "epoch"),
        (Report, "report", {"accounts": {"stored": 1.5}}, "accounts.stored"),
        (Status, "status_birth", {"online": 1}, "online"),
        (Status, "status_birth", {"health_port": 70_000}, "health_port"),
        (UpAck, "up_ack", {"seq": -1}, "seq"),
    ],
)
def test_a_refusal_names_the_field(
    kind: type[Message], sample: str, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(MessageError, match=named):
        kind.from_bytes(changed(MESSAGES[sample], **fields))


def test_records_with_a_hole_are_refused() -> None:
    records = [{"seq": 1, "body": {}}, {"seq": 3, "body": {}}]
    with pytest.raises(MessageError, match="not consecutive: seq 3, not 2"):
        RecordBatch.from_bytes(json.dumps({"epoch": "e1", "records": records}))
