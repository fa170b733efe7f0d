"""What comes up from a gateway: bytes on a topic -> a typed upload, or an error that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_trainer.inbox import Upload
from foreshock_wire.batch import Readings, Scores, decode
from foreshock_wire.errors import MessageError
from foreshock_wire.messages import Gap, RecordBatch
from foreshock_wire.topics import Stream, parse_uplink

if TYPE_CHECKING:
    from foreshock_trainer.inbox import Body


def decode_upload(topic: str, payload: bytes) -> Upload:
    """Decode one upload; wire checks every name and number in it.

    Raises:
        ForeshockError: the topic or the bytes are not as the contract says; the message names the
            first thing that is wrong.
    """
    at, stream = parse_uplink(topic)
    return Upload(at, stream, _body(stream, payload))


def _body(stream: Stream, payload: bytes) -> Body:
    if stream in (Stream.ALARMS, Stream.EVENTS):
        return _records(payload)
    if payload[:1] == b"{":
        return Gap.from_bytes(payload)
    return decode(payload, Readings) if stream is Stream.READINGS else decode(payload, Scores)


def _records(payload: bytes) -> RecordBatch | Gap:
    try:
        return RecordBatch.from_bytes(payload)
    except MessageError as error:
        try:
            return Gap.from_bytes(payload)
        except MessageError:
            raise error from None
