"""What a `Link` promises, kept by both clients: paho-mqtt and our own for the sensor side."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from foreshock.brokers import MosquittoBroker
from foreshock_agent.mqtt.direct import DirectLink
from foreshock_agent.mqtt.link import Delivery, Link, Outgoing, PahoLink, Session, Will
from foreshock_agent.settings import BrokerSettings
from tests.contract.peer import WAIT_S, peer
from tests.secured import USER, secured_broker
from tests.sockets import SocketBroker, socket_broker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from foreshock.brokers import Broker
    from foreshock_wire.topics import Gateway

Client = type[PahoLink | DirectLink]
AGENT: Final = "foreshock-gate-1"


@pytest.fixture(params=[PahoLink, DirectLink])
def client(request: pytest.FixtureRequest) -> Client:
    made: Client = request.param
    return made


@pytest.fixture
def mosquitto(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MosquittoBroker]:
    by_port = getattr(request, "param", "tcp") == "tcp"
    with MosquittoBroker(tmp_path) if by_port else socket_broker(tmp_path) as running:
        yield running


class Receiver:
    """Keeps what it is given; `closed` says that there is no room."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self.sessions: list[bool] = []
        self.closed = False
        self.offers = 0

    def take(self, deliveries: Sequence[Delivery]) -> bool:
        self.offers += 1
        if self.closed:
            return False
        self.taken += deliveries
        return True

    @property
    def payloads(self) -> list[bytes]:
        return [one.payload for one in self.taken]


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def settings_of(broker: Broker, keepalive_s: int) -> BrokerSettings:
    where = {"host": broker.socket} if isinstance(broker, SocketBroker) else {"port": broker.port}
    return BrokerSettings.model_validate(where | {"keepalive_s": keepalive_s, "reconnect_max_s": 1})


@contextmanager
def linked(
    client: Client,
    broker: Broker | BrokerSettings,
    receiver: Receiver,
    *filters: str,
    keepalive_s: int = 30,
    durable: bool = True,
    client_id: str = AGENT,
    will: Will | None = None,
) -> Iterator[Link]:
    link: Link = client(
        broker if isinstance(broker, BrokerSettings) else settings_of(broker, keepalive_s),
        Session(
            client_id,
            filters=filters,
            on_messages=receiver.take,
            on_connect=receiver.sessions.append,
            durable=durable,
            will=will,
        ),
    )
    before = len(receiver.sessions)
    link.start()
    try:
        until(lambda: len(receiver.sessions) > before, "the connection")
        yield link
    finally:
        link.stop()


def echoed(link: Link, receiver: Receiver, topic: str) -> None:
    """Wait until what was subscribed is granted: what we say ourselves comes back."""

    def came() -> bool:
        link.publish(topic, b"echo")
        time.sleep(0.02)
        return b"echo" in receiver.payloads

    until(came, "the subscription")
    # Copies of the echo that are still under way come before this one.
    link.publish(topic, b"last echo")
    until(lambda: b"last echo" in receiver.payloads, "the last echo")
    link.ack(receiver.taken)
    receiver.taken.clear()


def test_what_was_said_before_we_listened_is_told_from_what_is_said_now(
    client: Client, mosquitto: MosquittoBroker
) -> None:
    receiver = Receiver()
    with peer(mosquitto) as other:
        other.publish("plant/state", b"old", retain=True)
        with linked(client, mosquitto, receiver, "plant/state"):
            until(lambda: receiver.payloads == [b"old"], "the retained message")
            other.publish("plant/state", b"new", retain=True)
            until(lambda: receiver.payloads == [b"old", b"new"], "the new message")
    assert [one.retained for one in receiver.taken] == [True, False]


def test_messages_come_whole_in_order_and_go_out(
    client: Client, broker: Broker, at: Gateway
) -> None:
    receiver = Receiver()
    topic = f"{at.site}{client.__name__.lower()}/m/sample"
    name = f"{at.site}-{client.__name__}"
    with linked(client, broker, receiver, topic, durable=False, client_id=name) as link:
        echoed(link, receiver, topic)
        sent = [b"", b"1", b"x" * 127, b"y" * 128, b"z" * 20_000, "ä".encode()]
        with peer(broker) as plant:
            for payload in sent:
                plant.publish(topic, payload)
        until(lambda: len(receiver.taken) >= len(sent), "all messages")
    assert receiver.payloads == sent
    assert {one.topic for one in receiver.taken} == {topic}
    assert not link.errors


def test_many_messages_go_out_together_and_the_retained_ones_are_kept(
    client: Client, broker: Broker, at: Gateway
) -> None:
    receiver, late = Receiver(), Receiver()
    root = f"{at.site}{client.__name__.lower()}/told"
    name = f"{at.site}-{client.__name__}-all"
    said = [Outgoing(f"{root}/{n}", b"%d" % n, retain=n % 2 == 0) for n in range(10)]
    with linked(client, broker, receiver, f"{root}/#", durable=False, client_id=name) as link:
        echoed(link, receiver, f"{root}/echo")
        link.publish_all([])
        link.publish_all(said)
        until(lambda: len(receiver.taken) >= len(said), "all messages")
        assert receiver.payloads == [one.payload for one in said]
        filters = f"{root}/#"
        with linked(client, broker, late, filters, durable=False, client_id=f"{name}-late"):
            until(lambda: len(late.taken) >= len(said) / 2, "what was retained")
    assert sorted(late.payloads) == [one.payload for one in said if one.retain]


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("mosquitto", ["tcp", "unix"], indirect=True)
class TestOnMosquitto:
    """What the embedded broker cannot be asked for."""

    def test_only_what_was_acknowledged_does_not_come_again(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        receiver = Receiver()
        with linked(client, mosquitto, receiver, "m/#") as link:
            echoed(link, receiver, "m/echo")
            with peer(mosquitto) as plant:
                for number in range(9):
                    plant.publish("m/a", b"%d" % number)
            until(lambda: len(receiver.taken) == 9, "the messages")
            link.ack(receiver.taken[:4])
            first, receiver.taken = receiver.taken, []
            link.say_last("end", b"bye")
        until(lambda: not link.connected, "the end of the link")
        with linked(client, mosquitto, receiver, "m/#") as link:
            until(lambda: len(receiver.taken) >= 5, "the messages again")
        again = receiver.taken[:5]
        assert receiver.sessions == [False, True]
        assert [one.payload for one in again] == [b"4", b"5", b"6", b"7", b"8"]
        assert [one.packet_id for one in again] == [one.packet_id for one in first[4:]]
        assert all(one.dup for one in again)

    def test_a_receiver_without_room_holds_the_broker_back_and_loses_nothing(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        receiver, count = Receiver(), 400
        with linked(client, mosquitto, receiver, "m/#", keepalive_s=4) as link:
            echoed(link, receiver, "m/echo")
            receiver.closed = True
            with peer(mosquitto) as plant:
                for number in range(count):
                    plant.publish("m/a", b"%d" % number)
            until(lambda: receiver.offers > 20, "offers")
            assert not receiver.taken
            receiver.closed = False
            until(lambda: len(receiver.taken) == count, "all messages")
        assert receiver.payloads == [b"%d" % number for number in range(count)]
        assert receiver.sessions == [False]

    def test_a_restarted_broker_is_found_again_and_subscribed(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        receiver = Receiver()
        with linked(client, mosquitto, receiver, "m/#") as link:
            echoed(link, receiver, "m/echo")
            mosquitto.kill()
            until(lambda: not link.connected, "the link to notice")
            assert not link.publish("m/a", b"into the void")
            mosquitto.start()
            until(lambda: len(receiver.sessions) == 2, "the connection")
            echoed(link, receiver, "m/echo")
        assert link.errors == 0

    def test_other_topics_are_followed_now_and_on_later_connections(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        receiver = Receiver()
        with linked(client, mosquitto, receiver, "old/#", "both/#") as link:
            echoed(link, receiver, "old/echo")
            link.follow(["both/#", "new/#"])
            echoed(link, receiver, "new/echo")
        with linked(client, mosquitto, receiver, "both/#") as link, peer(mosquitto) as plant:
            link.follow(["both/#", "new/#"])
            echoed(link, receiver, "new/echo")
            for topic in ("old/a", "both/a", "new/a"):
                plant.publish(topic, b"1")
            plant.publish("new/a", b"last")
            until(lambda: b"last" in receiver.payloads, "what is followed")
        assert [one.topic for one in receiver.taken] == ["both/a", "new/a", "new/a"]
        assert receiver.sessions == [False, True]

    def test_the_will_speaks_for_a_client_that_died_and_not_for_one_that_left(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        will = Will("m/status", b"dead")
        with peer(mosquitto, "m/status") as watcher:
            receiver = Receiver()
            with linked(client, mosquitto, receiver, "m/a", will=will) as link:
                link.say_last("m/status", b"left")
            assert [one.payload for one in watcher.take(1)] == [b"left"]
            with (
                linked(client, mosquitto, receiver, "m/a", will=will),
                peer(mosquitto, client_id=AGENT),
            ):
                # The broker lets only one of a name in: for the first this is a sudden death.
                assert [one.payload for one in watcher.take(1)] == [b"dead"]

    def test_a_receiver_that_throws_ends_nothing(
        self, client: Client, mosquitto: MosquittoBroker
    ) -> None:
        receiver = Receiver()
        good = receiver.take

        def picky(deliveries: Sequence[Delivery]) -> bool:
            if any(one.payload == b"poison" for one in deliveries):
                raise RuntimeError("poison")
            return good(deliveries)

        receiver.take = picky  # type: ignore[method-assign]
        with linked(client, mosquitto, receiver, "m/#") as link:
            echoed(link, receiver, "m/echo")
            link.publish("m/a", b"poison")
            until(lambda: link.errors, "the error")
            link.publish("m/a", b"good")
            until(lambda: b"good" in receiver.payloads, "the next message")


@pytest.mark.needs("mosquitto")
def test_the_keepalive_goes_on_while_nothing_is_read(mosquitto: MosquittoBroker) -> None:
    """Ours only: paho reads and pings in one thread, so a full receiver lets it fall silent."""
    receiver = Receiver()
    with linked(DirectLink, mosquitto, receiver, "m/#", keepalive_s=2) as link:
        echoed(link, receiver, "m/echo")
        receiver.closed = True
        link.publish("m/a", b"held")
        until(lambda: receiver.offers > 1, "an offer")
        # The broker gives up after one and a half keepalives.
        threading.Event().wait(4.5)
        receiver.closed = False
        until(lambda: b"held" in receiver.payloads, "the message")
    assert receiver.sessions == [False]


@pytest.mark.needs("mosquitto")
def test_tls_and_a_login_let_a_link_in(
    client: Client, tmp_path: Path, mosquitto_binary: str
) -> None:
    receiver = Receiver()
    with secured_broker(tmp_path, mosquitto_binary) as broker:
        settings = BrokerSettings(
            port=broker.port,
            tls=True,
            ca_file=broker.ca,
            username=USER,
            password_file=broker.password,
        )
        with linked(client, settings, receiver, "m/#") as link:
            echoed(link, receiver, "m/echo")
            link.publish("m/a", b"x" * 200_000)
            until(lambda: receiver.taken, "a message of many TLS records")
    assert receiver.payloads == [b"x" * 200_000]


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*SSLSocket:ResourceWarning")
@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("wrong", ["another authority", "no login"])
def test_without_them_it_stays_outside(
    client: Client, tmp_path: Path, mosquitto_binary: str, wrong: str
) -> None:
    receiver = Receiver()
    with secured_broker(tmp_path, mosquitto_binary) as broker:
        settings = BrokerSettings(
            port=broker.port,
            tls=True,
            ca_file=broker.other_ca if wrong == "another authority" else broker.ca,
            reconnect_max_s=1,
        )
        link: Link = client(settings, Session(AGENT, ["m/#"], receiver.take))
        link.start()
        threading.Event().wait(1.5)
        assert not link.connected
        link.stop()
    assert link.errors == 0
