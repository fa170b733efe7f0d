"""What goes up from a gateway: the bytes of one upload -> what they hold."""

from __future__ import annotations

from foreshock_wire.batch import Readings, Scores, decode
from foreshock_wire.errors import MessageError
from foreshock_wire.messages import Gap, RecordBatch
from foreshock_wire.topics import Stream

Body = Readings | Scores | RecordBatch | Gap
"""What an upload carries: telemetry, records, or the tombstone of dropped records."""


def decode_body(stream: Stream, payload: bytes) -> Body:
    """Decode an upload of a stream.

    Raises:
        BatchError: the bytes are no telemetry batch.
        MessageError: they are no records, and no gap.
    """
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
