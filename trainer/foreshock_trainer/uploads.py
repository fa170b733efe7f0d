"""What comes up from a gateway: bytes on a topic -> a typed upload, or an error that says why."""

from __future__ import annotations

from foreshock_trainer.inbox import Upload
from foreshock_wire.topics import parse_uplink
from foreshock_wire.uploads import decode_body


def decode_upload(topic: str, payload: bytes) -> Upload:
    """Decode one upload; wire checks every name and number in it.

    Raises:
        ForeshockError: the topic or the bytes are not as the contract says; the message names the
            first thing that is wrong.
    """
    at, stream = parse_uplink(topic)
    return Upload(at, stream, decode_body(stream, payload))
