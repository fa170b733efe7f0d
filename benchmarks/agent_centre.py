"""A centre that does nothing but acknowledge what comes up, as the lake's ingest would."""

from __future__ import annotations

from collections import Counter
from typing import Final, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire import topics
from foreshock_wire.batch import Readings, Scores, decode
from foreshock_wire.messages import RecordBatch, UpAck
from foreshock_wire.topics import Down, Stream

EVERYTHING: Final = "foreshock/v1/up/#"


class Centre:
    """Acknowledges every batch as soon as it is decoded; `records` counts them by stream."""

    def __init__(self, port: int) -> None:
        self.records: Counter[Stream] = Counter()
        self._port = port
        self._paho = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._paho.on_connect = lambda client, *_: client.subscribe(EVERYTHING, 1)
        self._paho.on_message = self._take

    def _take(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        at, stream = topics.parse_uplink(message.topic)
        epoch, first_seq, last_seq = _range(stream, bytes(message.payload))
        self.records[stream] += last_seq - first_seq + 1
        ack = UpAck(epoch=epoch, stream=stream, seq=last_seq)
        client.publish(topics.down(at, Down.ACK), ack.to_bytes(), qos=1)

    def __enter__(self) -> Self:
        self._paho.connect("127.0.0.1", self._port)
        self._paho.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()


def _range(stream: Stream, payload: bytes) -> tuple[str, int, int]:
    """Return epoch, first and last seq of a batch."""
    if stream in {Stream.READINGS, Stream.SCORES}:
        batch = decode(payload, Readings if stream is Stream.READINGS else Scores)
        return batch.epoch, batch.first_seq, batch.last_seq
    records = RecordBatch.from_bytes(payload)
    return records.epoch, records.records[0].seq, records.records[-1].seq
