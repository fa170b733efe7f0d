"""MQTT 3.1.1 packets as bytes: the few that a subscriber writes, and a reader for those it gets.

Pure: no socket, no clock. Section numbers refer to the OASIS standard of 2014-10-29.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from foreshock_agent.mqtt.link import Delivery
from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreshock_agent.mqtt.link import Will

CONNACK: Final = 2
PUBLISH: Final = 3
PUBACK: Final = 4
SUBACK: Final = 9
UNSUBACK: Final = 11
PINGRESP: Final = 13
_FROM_A_SERVER: Final = {CONNACK, PUBACK, SUBACK, UNSUBACK, PINGRESP}

PING: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
REFUSED: Final = 0x80
"""A SUBACK's return code for a filter that was not granted (section 3.9.3)."""

LONGEST_TOPIC: Final = 65_535
LONGEST_CONTROL: Final = 65_536
LENGTH_BYTES: Final = 4
_TOPICS: Final = 65_536
"""How many topics are remembered as text."""

REFUSALS: Final = {
    1: "it does not speak MQTT 3.1.1",
    2: "the client id is not allowed",
    3: "it is not available",
    4: "bad user name or password",
    5: "not authorized",
}
"""A CONNACK's return codes (section 3.2.2.3)."""


class ProtocolError(ForeshockError):
    """The other end does not keep to MQTT: the connection ends."""


class Packet(NamedTuple):
    """Any packet but PUBLISH: its kind, and what follows the fixed header."""

    kind: int
    body: bytes


@dataclass(slots=True)
class Parsed:
    """What one piece of the stream held: messages in order, and all other packets in order."""

    deliveries: list[Delivery]
    packets: list[Packet]


class Reader:
    """Turns the bytes of one connection into packets, however they are cut.

    A payload longer than `max_payload` arrives cut one byte beyond it, so that memory is bounded
    and whoever judges sizes still sees that it is too long.
    """

    def __init__(self, connection: int, max_payload: int) -> None:
        self._connection = connection
        self._max_payload = max_payload
        self._enough = 2 + LONGEST_TOPIC + 2 + max_payload + 1
        self._topics: dict[bytes, str] = {}
        self._rest = b""
        self._skip = 0

    @property
    def held(self) -> int:
        """How many bytes of an unfinished packet wait here."""
        return len(self._rest)

    def feed(self, data: bytes) -> Parsed:
        """Take the next bytes; return what is whole by now.

        Raises:
            ProtocolError: they are no MQTT that a server may send.
        """
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._rest:
            data = self._rest + data
        parsed = Parsed([], [])
        self._rest = data[self._take(data, parsed) :]
        return parsed

    def _take(self, data: bytes, into: Parsed) -> int:
        """Parse packet by packet; return where the first unfinished one begins.

        The loop of the hot path: one call a message, and none for anything else.
        """
        at, end = 0, len(data)
        messages, message = into.deliveries, self._message
        while at + 1 < end:
            length, start = data[at + 1], at + 2
            if length >= REFUSED:
                length, start = _long_length(data, at + 1)
                if not start:
                    break
            stop, first = start + length, data[at]
            if stop > end:
                return self._cut(data, at, start, stop, into)
            if first >> 4 == PUBLISH:
                messages.append(message(data, first, start, stop))
            else:
                into.packets.append(_control(first, data[start:stop]))
            at = stop
        return at

    def _message(self, data: bytes, first: int, start: int, stop: int) -> Delivery:
        qos = first >> 1 & 3
        named = start + 2
        if named > stop:
            raise ProtocolError("a PUBLISH without a topic")
        named += data[start] << 8 | data[start + 1]
        body = named + 2 if qos else named
        if body > stop or qos > 1:
            raise ProtocolError("a PUBLISH that is cut short, or of a QoS that was not asked for")
        name = data[start + 2 : named]
        topic = self._topics.get(name) or self._topic(name)
        packet_id = data[named] << 8 | data[named + 1] if qos else 0
        dup, retained = first & 8 != 0, first & 1 != 0
        return Delivery(topic, data[body:stop], packet_id, qos, dup, self._connection, retained)

    def _topic(self, name: bytes) -> str:
        try:
            topic = name.decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"a topic that is no UTF-8: {name[:80]!r}") from None
        if len(self._topics) >= _TOPICS:
            self._topics.clear()
        self._topics[name] = topic
        return topic

    def _cut(self, data: bytes, at: int, start: int, stop: int, into: Parsed) -> int:
        """Look at a packet that is not whole yet: wait for it, or take the beginning of it."""
        first, end = data[at], len(data)
        if first >> 4 != PUBLISH:
            _control(first, b"", stop - start)
            return at
        if end - start < self._enough:
            return at
        whole = self._message(data, first, start, end)
        into.deliveries.append(whole._replace(payload=whole.payload[: self._max_payload + 1]))
        self._skip = stop - end
        return end


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """Return the remaining length and where the rest begins, (0, 0) if more bytes are needed."""
    length = 0
    for shift, byte in enumerate(data[at : at + LENGTH_BYTES]):
        length |= (byte & 0x7F) << 7 * shift
        if byte < REFUSED:
            return length, at + shift + 1
    if len(data) - at >= LENGTH_BYTES:
        raise ProtocolError("a length of more than four bytes")
    return 0, 0


def _control(first: int, body: bytes, length: int | None = None) -> Packet:
    kind = first >> 4
    if kind not in _FROM_A_SERVER or first & 0x0F:
        raise ProtocolError(f"a packet that no server sends here: {first:#04x}")
    if (len(body) if length is None else length) > LONGEST_CONTROL:
        raise ProtocolError(f"a packet {first:#04x} of {length} bytes")
    return Packet(kind, body)


def session_present(packet: Packet) -> bool:
    """Return what a CONNACK says of the session.

    Raises:
        ProtocolError: it is none, or refuses; says why.
    """
    if packet.kind != CONNACK or len(packet.body) != 2:  # noqa: PLR2004 - section 3.2
        raise ProtocolError("the first packet is no CONNACK")
    flags, code = packet.body
    if code:
        raise ProtocolError(f"refused: {REFUSALS.get(code, f'return code {code}')}")
    return bool(flags & 1)


def packet_id(packet: Packet) -> int:
    """Return the id that a PUBACK or SUBACK answers.

    Raises:
        ProtocolError: there is none.
    """
    if len(packet.body) < 2:  # noqa: PLR2004 - sections 3.4, 3.9
        raise ProtocolError("an answer without a packet id")
    return int.from_bytes(packet.body[:2])


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects, and how."""

    client_id: str
    keepalive_s: int
    clean: bool
    will: Will | None = None
    username: str | None = None
    password: str | None = None


def connect(login: Login) -> bytes:
    """Return a CONNECT (section 3.1); a will has QoS 1 and is retained."""
    flags = 2 * login.clean
    fields = [_text(login.client_id)]
    if login.will is not None:
        flags |= 0b00101100
        fields += [_text(login.will.topic), _binary(login.will.payload)]
    if login.username is not None:
        flags |= 0x80
        fields.append(_text(login.username))
        if login.password is not None:
            flags |= 0x40
            fields.append(_text(login.password))
    head = _text("MQTT") + struct.pack(">BBH", 4, flags, login.keepalive_s)
    return _packet(0x10, head + b"".join(fields))


def subscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    """Return a SUBSCRIBE at QoS 1."""
    asked = b"".join(_text(one) + b"\x01" for one in filters)
    return _packet(0x82, struct.pack(">H", packet_id) + asked)


def unsubscribe(packet_id: int, filters: Sequence[str]) -> bytes:
    """Return an UNSUBSCRIBE."""
    return _packet(0xA2, struct.pack(">H", packet_id) + b"".join(map(_text, filters)))


def publish(topic: str, payload: bytes, packet_id: int, *, qos: int, retain: bool) -> bytes:
    """Return a PUBLISH; `packet_id` counts at QoS 1."""
    number = struct.pack(">H", packet_id) if qos else b""
    return _packet(0x30 | qos << 1 | retain, _text(topic) + number + payload)


def pubacks(packet_ids: Sequence[int]) -> bytes:
    """Return the PUBACKs for messages, in their order."""
    words = [0x4002] * (2 * len(packet_ids))
    words[1::2] = packet_ids
    return struct.pack(f">{len(words)}H", *words)


def _packet(first: int, body: bytes) -> bytes:
    length, left = bytearray(), len(body)
    while left >= REFUSED:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return bytes([first, *length]) + body


def _text(text: str) -> bytes:
    return _binary(text.encode())


def _binary(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
