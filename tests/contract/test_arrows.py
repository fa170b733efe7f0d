"""Each arrow of the wire contract (docs/wire.md) really sent and received, on every broker."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foreshock_wire import topics
from foreshock_wire.batch import Readings, Scores, decode
from foreshock_wire.ids import SHARDS, shard_of
from foreshock_wire.messages import (
    Alarm,
    AlarmAction,
    AlarmCommand,
    AlarmState,
    Gap,
    RecordBatch,
    Score,
    Status,
    UpAck,
    UpRecord,
)
from foreshock_wire.topics import Down, Gateway, Stream, Up
from foreshock_wire.updates import BlockRequest, Desired, DeviceState, Report
from tests.contract.peer import peer
from tests.wire.samples import ALARM, MODEL, READINGS, SCORES, SHA, same

if TYPE_CHECKING:
    from foreshock.brokers import Broker

END = b"the end"
"""A last message: what has not come before it does not come at all."""


def status(at: Gateway, *, online: bool) -> Status:
    return Status(site=at.site, gateway=at.gateway, online=online, epoch="e1", version="0.1.0")


def test_a_late_subscriber_sees_the_birth(broker: Broker, at: Gateway) -> None:
    birth = status(at, online=True)
    with peer(broker) as agent:
        agent.publish(topics.status(at), birth.to_bytes(), retain=True)
        with peer(broker, topics.status(at)) as late:
            (message,) = late.take(1)
    assert message.retain
    assert Status.from_bytes(message.payload) == birth


def test_an_agent_that_vanishes_is_seen_as_dead(broker: Broker, at: Gateway) -> None:
    death = status(at, online=False)
    with peer(broker, topics.status(at)) as operator:
        with peer(broker, will=(topics.status(at), death.to_bytes())) as agent:
            agent.publish(topics.status(at), status(at, online=True).to_bytes(), retain=True)
            agent.drop()
            born, died = operator.take(2)
        with peer(broker, topics.status(at)) as late:
            (remembered,) = late.take(1)
    assert [Status.from_bytes(m.payload).online for m in (born, died)] == [True, False]
    assert Status.from_bytes(remembered.payload) == death


def test_an_agent_that_says_goodbye_leaves_no_will(broker: Broker, at: Gateway) -> None:
    with peer(broker, topics.status(at)) as operator:
        with peer(broker, will=(topics.status(at), status(at, online=False).to_bytes())):
            pass
        with peer(broker) as other:
            other.publish(topics.status(at), END)
        assert operator.take_until(END) == []


def test_a_late_subscriber_sees_each_machines_current_alarm(broker: Broker, at: Gateway) -> None:
    with peer(broker) as agent:
        for machine in ("m1", "m2"):
            for state in (AlarmState.UNACKNOWLEDGED, AlarmState.ACKNOWLEDGED):
                alarm = ALARM.model_copy(update={"machine": machine, "state": state})
                agent.publish(topics.alarm(at, machine), alarm.to_bytes(), retain=True)
        with peer(broker, topics.any_alarm(at)) as late:
            seen = {topics.machine_of(m.topic): Alarm.from_bytes(m.payload) for m in late.take(2)}
    assert {machine: alarm.state for machine, alarm in seen.items()} == {
        "m1": AlarmState.ACKNOWLEDGED,
        "m2": AlarmState.ACKNOWLEDGED,
    }
    assert seen["m1"] == ALARM.model_copy(
        update={"machine": "m1", "state": AlarmState.ACKNOWLEDGED}
    )


def test_a_retained_alarm_can_be_taken_back(broker: Broker, at: Gateway) -> None:
    with peer(broker) as agent:
        agent.publish(topics.alarm(at, "m1"), ALARM.to_bytes(), retain=True)
        agent.publish(topics.alarm(at, "m1"), b"", retain=True)
        with peer(broker, topics.any_alarm(at)) as late:
            agent.publish(topics.alarm(at, "m9"), END)
            assert [m for m in late.take_until(END) if m.payload] == []


def test_scores_are_live_only(broker: Broker, at: Gateway) -> None:
    score = Score(machine="m1", time_ns=1, probability=0.5, model=SHA)
    with peer(broker) as agent, peer(broker, topics.any_score(at)) as screen:
        agent.publish(topics.score(at, "m1"), score.to_bytes())
        assert Score.from_bytes(screen.take(1)[0].payload) == score
        with peer(broker, topics.any_score(at)) as late:
            agent.publish(topics.score(at, "m1"), END)
            assert late.take_until(END) == []


def test_an_operators_command_reaches_the_agent_and_no_alarm_screen(
    broker: Broker, at: Gateway
) -> None:
    command = AlarmCommand(action=AlarmAction.SHELVE, operator="ada", until_ns=5)
    with (
        peer(broker, topics.any_alarm_command(at)) as agent,
        peer(broker, topics.any_alarm(at)) as screen,
        peer(broker) as operator,
    ):
        operator.publish(topics.alarm_command(at, "m1"), command.to_bytes())
        (message,) = agent.take(1)
        operator.publish(topics.alarm(at, "m1"), END)
        assert screen.take_until(END) == []
    assert topics.machine_of(message.topic) == "m1"
    assert AlarmCommand.from_bytes(message.payload) == command


def test_each_shard_filter_catches_its_gateways_and_nothing_else(
    broker: Broker, at: Gateway
) -> None:
    gateways = [Gateway(at.site, f"gw-{i}") for i in range(64)]
    assert {shard_of(gateway.gateway) for gateway in gateways} == set(range(SHARDS))
    with ExitStack() as stack:
        workers = [stack.enter_context(peer(broker, topics.shard_filter(s))) for s in range(SHARDS)]
        sender = stack.enter_context(peer(broker))
        for gateway in gateways:
            for stream in Stream:
                sender.publish(topics.uplink(gateway, stream), gateway.gateway.encode())
            sender.publish(topics.up(gateway, Up.REPORT), b"not an upload")
            sender.publish(topics.status(gateway), b"not an upload")
        for shard in range(SHARDS):
            sender.publish(f"{topics.PREFIX}/up/{shard}/{at.site}/last/alarms", END)
        for shard, worker in enumerate(workers):
            got = [topics.parse_uplink(message.topic) for message in worker.take_until(END)]
            want = {(g, s) for g in gateways if shard_of(g.gateway) == shard for s in Stream}
            assert len(got) == len(want)
            assert set(got) == want


def test_telemetry_arrives_byte_for_byte(broker: Broker, at: Gateway) -> None:
    count = 20_000
    noise = np.random.default_rng(7)
    big = replace(
        READINGS,
        machine=noise.integers(0, 2, count, np.uint16),
        channel=noise.integers(0, 3, count, np.uint16),
        time_ns=noise.integers(-(2**62), 2**62, count),
        received_ns=noise.integers(-(2**62), 2**62, count),
        value=noise.normal(size=count).astype(np.float32),
        flags=noise.integers(0, 4, count, np.uint8),
    )
    sent = [READINGS.to_bytes(), big.to_bytes()]
    with peer(broker, topics.shard_filter(shard_of(at.gateway))) as ingest, peer(broker) as agent:
        for payload in sent:
            agent.publish(topics.uplink(at, Stream.READINGS), payload)
        agent.publish(topics.uplink(at, Stream.SCORES), SCORES.to_bytes())
        *readings, scores = ingest.take(3)
    assert [message.payload for message in readings] == sent
    assert same(decode(readings[0].payload, Readings), READINGS)
    assert same(decode(scores.payload, Scores), SCORES)
    assert topics.parse_uplink(scores.topic) == (at, Stream.SCORES)


def test_records_gaps_and_acks_make_a_round(broker: Broker, at: Gateway) -> None:
    batch = RecordBatch(epoch="e1", records=(UpRecord(seq=1, body={"kind": "started"}),))
    gap = Gap(epoch="e1", first_seq=2, last_seq=9, reason="retention")
    ack, nack = (
        UpAck(epoch="e1", stream=Stream.EVENTS, seq=9),
        UpAck(epoch="e1", stream=Stream.READINGS, seq=4, expected=5),
    )
    with (
        peer(broker, topics.shard_filter(shard_of(at.gateway))) as ingest,
        peer(broker, topics.down(at, Down.ACK)) as agent,
    ):
        agent.publish(topics.uplink(at, Stream.EVENTS), batch.to_bytes())
        agent.publish(topics.uplink(at, Stream.EVENTS), gap.to_bytes())
        first, second = ingest.take(2)
        sender, _ = topics.parse_uplink(first.topic)
        for answer in (ack, nack):
            ingest.publish(topics.down(sender, Down.ACK), answer.to_bytes())
        answers = [UpAck.from_bytes(message.payload) for message in agent.take(2)]
    assert RecordBatch.from_bytes(first.payload) == batch
    assert Gap.from_bytes(second.payload) == gap
    assert answers == [ack, nack]


def test_a_late_gateway_sees_what_it_shall_run(broker: Broker, at: Gateway) -> None:
    with peer(broker) as centre:
        for counter in (1, 2):
            desired = Desired(gateway=at.gateway, counter=counter, model=MODEL)
            centre.publish(topics.down(at, Down.DESIRED), desired.to_bytes(), retain=True)
        other = topics.down(Gateway(at.site, "gw-2"), Down.DESIRED)
        centre.publish(other, b"for another", retain=True)
        with peer(broker, topics.down(at, Down.DESIRED)) as late:
            (message,) = late.take(1)
    assert Desired.from_bytes(message.payload) == desired


def test_reports_and_requests_of_all_gateways_reach_the_centre(broker: Broker, at: Gateway) -> None:
    report = Report(gateway="gw-1", state=DeviceState.DOWNLOADING, counter=2)
    with (
        peer(broker, topics.any_up(Up.REPORT), topics.any_up(Up.BLOCK)) as centre,
        peer(broker) as agents,
    ):
        agents.publish(topics.up(at, Up.REPORT), report.to_bytes())
        request = BlockRequest(sha256=SHA, index=3)
        agents.publish(topics.up(Gateway(at.site, "gw-2"), Up.BLOCK), request.to_bytes())
        agents.publish(topics.uplink(at, Stream.ALARMS), b"no report")
        agents.publish(topics.up(at, Up.REPORT), END)
        reported, requested = centre.take_until(END)
    assert topics.parse_up(reported.topic) == (at, Up.REPORT)
    assert Report.from_bytes(reported.payload) == report
    assert topics.parse_up(requested.topic) == (Gateway(at.site, "gw-2"), Up.BLOCK)
    assert BlockRequest.from_bytes(requested.payload) == request


def test_blocks_make_the_file_again(broker: Broker, at: Gateway) -> None:
    model = np.random.default_rng(1).bytes(2_500_000)
    size, sha256 = 1 << 20, hashlib.sha256(model).hexdigest()
    with peer(broker, topics.any_block(at)) as agent, peer(broker) as centre:
        for index in range(3):
            block = model[index * size : (index + 1) * size]
            centre.publish(topics.block(at, sha256, index), block)
        got = {topics.parse_block(m.topic): m.payload for m in agent.take(3)}
    assert b"".join(got[sha256, index] for index in range(3)) == model


def test_a_stream_arrives_in_the_order_it_was_sent(broker: Broker, at: Gateway) -> None:
    topic = topics.uplink(at, Stream.READINGS)
    with peer(broker, topic) as ingest, peer(broker) as agent:
        for i in range(500):
            agent.client.publish(topic, str(i).encode(), qos=1)
        got = ingest.take(500)
    assert [int(message.payload) for message in got] == list(range(500))
    assert {message.qos for message in got} == {1}
