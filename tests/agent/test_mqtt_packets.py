"""The bytes of a broker: cut anywhere they give the same packets, and nonsense ends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_agent.mqtt import packets
from foreshock_agent.mqtt.link import Delivery, Will
from foreshock_agent.mqtt.packets import Login, Packet, ProtocolError, Reader

MAX_PAYLOAD = 300
TOPICS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MESSAGES = st.builds(
    Delivery,
    TOPICS,
    st.binary(max_size=400),
    st.integers(1, 65_535),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.just(1),
    st.booleans(),
)
OTHERS = st.builds(
    Packet,
    st.sampled_from([packets.PUBACK, packets.SUBACK, packets.PINGRESP]),
    st.binary(max_size=200),
)


def written(one: Delivery | Packet) -> bytes:
    """Return the packet as a broker would send it."""
    if isinstance(one, Delivery):
        topic, payload, packet_id, qos, _, _, retain = one
        whole = packets.publish(topic, payload, packet_id, qos=qos, retain=retain)
        return bytes([whole[0] | 8 * one.dup]) + whole[1:]
    length = len(one.body)
    more = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    return bytes([one.kind << 4]) + more + one.body


def expected(one: Delivery) -> Delivery:
    """Return the message as it shall arrive: QoS 0 has no packet id."""
    return one if one.qos else one._replace(packet_id=0)


@given(sent=st.lists(MESSAGES | OTHERS, max_size=12), data=st.data())
def test_a_stream_cut_anywhere_gives_the_same_packets(
    sent: list[Delivery | Packet], data: st.DataObject
) -> None:
    stream = b"".join(map(written, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = Reader(1, 1 << 20)
    found: list[Delivery | Packet] = []
    others: list[Packet] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parsed = reader.feed(stream[start:stop])
        found += parsed.deliveries
        others += parsed.packets
    assert found == [expected(one) for one in sent if isinstance(one, Delivery)]
    assert others == [one for one in sent if isinstance(one, Packet)]
    assert reader.held == 0


@given(pieces=st.lists(st.binary(max_size=2000), max_size=20))
def test_garbage_neither_hangs_nor_grows(pieces: list[bytes]) -> None:
    reader = Reader(1, MAX_PAYLOAD)
    try:
        for piece in pieces:
            reader.feed(piece)
            assert reader.held <= packets.LONGEST_TOPIC + MAX_PAYLOAD + len(piece) + 8
    except ProtocolError:
        pass


@given(size=st.integers(MAX_PAYLOAD + 1, 400_000), step=st.integers(1000, 70_000))
def test_a_payload_that_is_too_long_arrives_cut_and_its_neighbours_whole(
    size: int, step: int
) -> None:
    long, short = ("a/b", b"x" * size), ("a/c", b"1")
    stream = b"".join(
        packets.publish(topic, payload, at + 1, qos=1, retain=False)
        for at, (topic, payload) in enumerate([short, long, short])
    )
    reader = Reader(7, MAX_PAYLOAD)
    found: list[Delivery] = []
    for at in range(0, len(stream), step):
        found += reader.feed(stream[at : at + step]).deliveries
        assert reader.held <= packets.LONGEST_TOPIC + MAX_PAYLOAD + step + 8
    assert [one.packet_id for one in found] == [1, 2, 3]
    assert [one.payload for one in found[::2]] == [b"1", b"1"]
    assert found[1].payload[:MAX_PAYLOAD] == b"x" * MAX_PAYLOAD
    assert len(found[1].payload) > MAX_PAYLOAD


@pytest.mark.parametrize(
    "stream",
    [
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x30\x01a",  # no room for a topic's length
        b"\x30\x03\x00\x05a",  # a topic longer than its packet
        b"\x32\x04\x00\x01ab",  # QoS 1 without a packet id
        b"\x34\x05\x00\x01a\x00\x01",  # QoS 2 was never asked for
        b"\x30\x04\x00\x02\xff\xfe",  # a topic that is no UTF-8
        b"\x82\x03\x00\x01\x00",  # what only a client sends
        b"\x41\x02\x00\x01",  # flags that must be 0
        b"\x90\xff\xff\x7f",  # an answer of two megabytes
    ],
)
def test_what_is_no_mqtt_of_a_server_ends_the_connection(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        Reader(1, MAX_PAYLOAD).feed(stream)


def test_a_connack_says_whether_the_session_is_there_or_why_not() -> None:
    assert packets.session_present(Packet(packets.CONNACK, b"\1\0"))
    assert not packets.session_present(Packet(packets.CONNACK, b"\0\0"))
    with pytest.raises(ProtocolError, match="bad user name or password"):
        packets.session_present(Packet(packets.CONNACK, b"\0\4"))
    with pytest.raises(ProtocolError, match="no CONNACK"):
        packets.session_present(Packet(packets.PINGRESP, b""))


def test_a_connect_carries_session_will_and_login() -> None:
    """Byte for byte as section 3.1 of the standard has it."""
    login = Login("me", 30, False, Will("w", b"gone"), "u", "p")  # noqa: FBT003
    head = b"\x00\x04MQTT\x04\xec\x00\x1e"
    body = b"\x00\x02me\x00\x01w\x00\x04gone\x00\x01u\x00\x01p"
    assert packets.connect(login) == b"\x10" + bytes([len(head + body)]) + head + body


def test_acknowledgements_are_written_in_bulk() -> None:
    assert packets.pubacks([1, 0x1234, 65_535]) == bytes.fromhex("400200014002123440 02ffff")
    assert packets.pubacks([]) == b""
