"""What a link says on a new connection: nothing that belongs to the one before; both clients.

A broker of a few lines, because the moments that matter lie between two packets: it decides when
each answer is sent, and sees every byte.
"""

from __future__ import annotations

import queue
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

import pytest

from foreshock_agent.mqtt.direct import DirectLink
from foreshock_agent.mqtt.link import Delivery, Link, PahoLink, Session
from foreshock_agent.settings import BrokerSettings
from tests.agent.rig import DEADLINE_S, wait_for
from tests.faults.cable import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ = 0x10, 0x32, 0x40, 0x82, 0xC0
CONNACK: Final = bytes.fromhex("20020100")
"""Accepted, and the session of before is here."""
PACKET_ID: Final = 7


def publish(topic: str, payload: bytes) -> bytes:
    body = struct.pack(">H", len(topic)) + topic.encode() + struct.pack(">H", PACKET_ID) + payload
    return bytes([PUBLISH, len(body)]) + body


class Broker:
    """Takes one connection at a time and hands out what comes, packet by packet."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.port: int = self._listener.getsockname()[1]

    def accept(self) -> None:
        self._end, _ = self._listener.accept()
        self._end.settimeout(DEADLINE_S)
        self._frames = Frames()
        self._waiting: list[tuple[int, bytes]] = []

    def take(self) -> tuple[int, bytes]:
        while not self._waiting:
            data = self._end.recv(4096)
            assert data, "the link hung up"
            self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    def say(self, packet: bytes) -> None:
        self._end.sendall(packet)

    def hang_up(self) -> None:
        self._end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._listener.close()


class Wired:
    """A durable link and the broker of these tests, connected once and subscribed."""

    def __init__(self, broker: Broker, make: type[PahoLink | DirectLink]) -> None:
        self.broker = broker
        self.news = b"first"
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.link: Link = make(
            BrokerSettings(port=broker.port, reconnect_max_s=1),
            Session("agent", ["plant/#"], self._take, self._greet, durable=True),
        )
        self.link.start()
        self.meet()

    def _greet(self, _session_present: bool) -> None:  # noqa: FBT001 - a callback's shape
        self.link.publish("status", self.news, retain=True)

    def _take(self, deliveries: Sequence[Delivery]) -> bool:
        for delivery in deliveries:
            self.deliveries.put(delivery)
        return True

    def meet(self) -> None:
        self.broker.accept()
        assert self.broker.take()[0] == CONNECT
        self.broker.say(CONNACK)
        wait_for(lambda: self.link.connected, "the link")

    def said(self) -> list[tuple[int, bytes]]:
        """Return all that the link says up to a last word of ours."""
        self.link.publish("fence", b"")
        packets = []
        while not (packet := self.broker.take())[1].startswith(b"\0\5fence"):
            packets.append(packet)
        return packets


@pytest.fixture(params=[PahoLink, DirectLink])
def wired(request: pytest.FixtureRequest) -> Iterator[Wired]:
    with Broker() as broker:
        one = Wired(broker, request.param)
        yield one
        broker.hang_up()
        one.link.stop()


def test_an_acknowledgement_that_comes_late_does_not_reach_the_next_connection(
    wired: Wired,
) -> None:
    wired.broker.say(publish("plant/pump-1/sample", b"1"))
    late = wired.deliveries.get(timeout=DEADLINE_S)
    wired.broker.hang_up()
    wired.broker.accept()
    assert wired.broker.take()[0] == CONNECT
    wired.link.ack([late])
    wired.broker.say(CONNACK)
    assert wired.broker.take()[0] == SUBSCRIBE


def test_an_acknowledgement_reaches_the_connection_that_it_belongs_to(wired: Wired) -> None:
    wired.broker.say(publish("plant/pump-1/sample", b"1"))
    wired.link.ack([wired.deliveries.get(timeout=DEADLINE_S)])
    assert (PUBACK, struct.pack(">H", PACKET_ID)) in wired.said()


def test_what_was_said_before_never_comes_after_what_is_said_now(wired: Wired) -> None:
    """A broker that dies before its PUBACK would else retain the old status over the new one."""
    assert any(body.endswith(b"first") for _, body in wired.said())
    wired.broker.hang_up()
    wait_for(lambda: not wired.link.connected, "the link to notice")
    wired.news = b"second"
    wired.meet()
    said = [body for _, body in wired.said() if b"status" in body]
    assert [body.rpartition(b"status")[2][2:] for body in said] == [b"second"]


def test_a_broker_that_falls_silent_is_left() -> None:
    """A half-open connection: the other end is gone, and nothing says so."""
    with Broker() as broker:
        link = DirectLink(
            BrokerSettings(port=broker.port, keepalive_s=2, reconnect_max_s=1),
            Session("agent", ["plant/#"], lambda _: True),
        )
        link.start()
        broker.accept()
        broker.say(CONNACK)
        wait_for(lambda: link.connected, "the link")
        assert [broker.take()[0] for _ in range(3)] == [CONNECT, SUBSCRIBE, PINGREQ]
        wait_for(lambda: not link.connected, "the link to leave")
        broker.hang_up()
        broker.accept()
        assert broker.take()[0] == CONNECT
        broker.hang_up()
        link.stop()
