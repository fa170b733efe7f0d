"""What an operator answers to an alarm is committed and goes up as an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.mqtt.link import Delivery
from foreshock_agent.uplink.outbox import Outbox
from foreshock_wire import topics
from foreshock_wire.messages import (
    Alarm,
    AlarmAction,
    AlarmAnswer,
    AlarmAnswered,
    AlarmCommand,
    AlarmState,
    RecordBatch,
)
from foreshock_wire.model import Model
from foreshock_wire.topics import Stream
from tests.agent.rig import AT, Bench, Ledger, alarming

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ANSWER = AlarmCommand(
    action=AlarmAction.ACKNOWLEDGE,
    operator="ada",
    answer=AlarmAnswer.REPAIRED,
    mode="bearing",
    found="pitted race",
)


def command(machine: str, asked: AlarmCommand) -> Delivery:
    return Delivery(topics.alarm_command(AT, machine), asked.to_bytes(), 900, 1, False, 1)  # noqa: FBT003


def events(bench: Bench) -> list[AlarmAnswered]:
    outbox = Outbox(bench.settings.database)
    parcel = outbox.next_parcel(Stream.EVENTS, {}, 100)
    outbox.close()
    records = RecordBatch.from_bytes(parcel.payload).records if parcel else ()
    return [AlarmAnswered.model_validate(record.body) for record in records]


def test_an_answer_acknowledges_and_goes_up(tmp_path: Path, model_bytes: bytes) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.take(*alarming(model))
    bench.step(command("pump-1", ANSWER))
    bench.commit()

    told = [o for o in bench.published if o.topic.endswith("/alarm")]
    alarm = Alarm.from_bytes(told[-1].payload)
    assert alarm.state is AlarmState.ACKNOWLEDGED
    assert events(bench) == [
        AlarmAnswered(
            machine="pump-1",
            time_ns=alarm.time_ns,
            kind=AlarmAnswer.REPAIRED,
            mode="bearing",
            detail="pitted race",
            operator="ada",
            episode=alarm.episode,
        )
    ]
    bench.close()


def test_without_an_alarm_or_without_an_answer_nothing_goes_up(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.step(command("pump-2", ANSWER))
    bench.take(*alarming(model))
    bench.step(command("pump-1", AlarmCommand(action=AlarmAction.ACKNOWLEDGE)))
    bench.commit()
    assert events(bench) == []
    bench.close()


def test_a_command_that_comes_again_after_a_kill_is_obeyed_once(
    tmp_path: Path, model_bytes: bytes
) -> None:
    """As when the kill came between its commit and its acknowledgement."""
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.take(*alarming(model))
    bench.step(command("pump-1", ANSWER))
    bench.commit()
    bench.close()
    bench = Bench(tmp_path, model)
    bench.step(command("pump-1", ANSWER)._replace(dup=True, connection=2))
    bench.step(command("pump-1", ANSWER)._replace(packet_id=901, connection=2))
    bench.commit()
    pending = Ledger.read(bench.settings.database).pending
    assert pending[Stream.EVENTS] == 2, "the one that came again, and the one that is new"
    bench.close()


def test_a_command_that_is_retained_or_endless_is_refused(
    tmp_path: Path, model_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.take(*alarming(model))
    bench.step(command("pump-1", ANSWER)._replace(retained=True))
    bench.step(command("pump-1", ANSWER.model_copy(update={"found": 5000 * "x"})))
    bench.commit()
    assert bench.store.accounts["commands.rejected"] == 2
    assert "retained" in caplog.text
    assert bench.pipeline._judge.state("pump-1") is AlarmState.UNACKNOWLEDGED  # noqa: SLF001
    bench.close()
