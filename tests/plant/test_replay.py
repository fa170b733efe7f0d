"""Recorded telemetry over a real broker: what was recorded is what goes out, in its order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foreshock.brokers import make_broker
from foreshock_plant.cli import cli
from foreshock_plant.recorder import record
from foreshock_plant.replay import messages_of, shortest
from foreshock_wire.batch import Readings
from foreshock_wire.recorded import read_batches

if TYPE_CHECKING:
    from pathlib import Path


def readings(machine: list[int], channel: list[int], time_ns: list[int]) -> Readings:
    count = len(machine)
    return Readings(
        epoch="e1",
        first_seq=1,
        machines=["m-0", "m-1"],
        channels=["a", "b"],
        machine=np.array(machine, np.uint16),
        channel=np.array(channel, np.uint16),
        time_ns=np.array(time_ns, np.int64),
        received_ns=np.array(time_ns, np.int64),
        value=np.arange(count, dtype=np.float32),
        flags=np.zeros(count, np.uint8),
    )


def test_readings_that_arrived_together_are_one_message() -> None:
    sent = list(messages_of(readings([0, 0, 1, 1], [0, 1, 0, 1], [5, 5, 5, 6])))
    assert [(one.machine, one.time_ns, one.channels) for one in sent] == [
        ("m-0", 5, ("a", "b")),
        ("m-1", 5, ("a",)),
        ("m-1", 6, ("b",)),
    ]
    assert json.loads(sent[0].payload) == {"t": 5, "a": 0, "b": 1}


def test_a_channel_that_comes_again_at_once_is_a_message_of_its_own() -> None:
    sent = list(messages_of(readings([0, 0, 0], [0, 1, 0], [5, 5, 5])))
    assert [json.loads(one.payload) for one in sent] == [{"t": 5, "a": 0, "b": 1}, {"t": 5, "a": 2}]


@given(arrays(np.float32, 1, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_value_survives_as_text(value: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    assert np.float32(json.loads(json.dumps(shortest(value[0])))) == value[0]


def test_values_read_as_they_were_written_down() -> None:
    assert shortest(np.float32(9046.19)) == 9046.19


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("past")
    record(out, machines=3, hours=120, seed=4, progress=lambda _: None)
    return out


def replay(past: Path, out: Path, folder: Path) -> dict[str, object]:
    with (
        make_broker("embedded", folder / "b1") as one,
        make_broker("embedded", folder / "b2") as two,
    ):
        brokers = [f"works/gw-1={one.address}", f"works/gw-2={two.address}"]
        options = [part for address in brokers for part in ("--broker", address)]
        result = CliRunner().invoke(
            cli,
            [
                "replay",
                "--from",
                str(past),
                *options,
                "--speed",
                "1e5",
                "--out",
                str(out),
                "--json",
            ],
            catch_exceptions=False,
        )
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_everything_that_was_recorded_goes_out_once_in_its_order(
    past: Path, tmp_path: Path
) -> None:
    done = replay(past, tmp_path / "out", tmp_path)
    recorded = {
        (batch.machines[m], batch.channels[c], int(t)): (float(v), int(r))
        for batch in read_batches(past)
        for m, c, t, v, r in zip(
            batch.machine, batch.channel, batch.time_ns, batch.value, batch.received_ns, strict=True
        )
    }
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "published.jsonl").read_text().splitlines()
    ]
    sent: dict[tuple[str, str, int], float] = {}
    arrived: dict[str, list[int]] = {}
    for line in lines:
        body = json.loads(line["payload"])
        time_ns = body.pop("t")
        for channel, value in body.items():
            key = line["machine"], channel, time_ns
            assert key not in sent
            sent[key] = value
            arrived.setdefault(line["machine"], []).append(recorded[key][1])
    assert {key: np.float32(value) for key, value in sent.items()} == {
        key: np.float32(value) for key, (value, _) in recorded.items()
    }
    assert all(times == sorted(times) for times in arrived.values())
    assert {line["machine"]: line["gateway"] for line in lines} == {
        "h-compressor-01": "gw-1",
        "h-fan-01": "gw-2",
        "h-pump-01": "gw-1",
    }
    assert done["readings"] == len(recorded)
    assert (done["machines"], done["copies"], done["unacknowledged"]) == (3, 0, 0)


def test_a_folder_that_is_no_recording_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli,
        ["replay", "--from", str(tmp_path), "--broker", "s/g=127.0.0.1:1", "--out", str(tmp_path)],
    )
    assert str(tmp_path) in str(result.exception)


def test_a_damaged_batch_is_named(past: Path, tmp_path: Path) -> None:
    source = next(past.glob("*/*/*.fsb"))
    copy = tmp_path / "history" / "gw-1" / source.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(Exception, match=str(copy)):
        list(read_batches(tmp_path))
