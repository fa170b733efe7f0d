"""A broker's address: what is understood, and what is refused before anything is sent."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from foreshock_wire.broker import BrokerAddress, BrokerError, is_this_machine


@pytest.mark.parametrize(
    ("text", "host", "port", "tls"),
    [
        ("localhost:1884", "localhost", 1884, False),
        ("localhost", "localhost", 1883, False),
        ("127.0.0.1:1883", "127.0.0.1", 1883, False),
        ("[::1]:1883", "::1", 1883, False),
        ("[::1]", "::1", 1883, False),
        ("mqtt://localhost", "localhost", 1883, False),
        ("mqtts://mqtt.example.com", "mqtt.example.com", 8883, True),
        ("mqtts://10.0.0.7:9000/", "10.0.0.7", 9000, True),
        ("unix:/run/broker/agent.sock", "unix:/run/broker/agent.sock", 1883, False),
    ],
)
def test_an_address_is_a_host_a_port_and_a_scheme(
    text: str, host: str, port: int, *, tls: bool
) -> None:
    assert BrokerAddress.parse(text) == BrokerAddress(host, port, tls)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":1883", "localhost:", "localhost:0", "localhost:65536", "localhost:mqtt"),
        *("http://x:1", "localhost:1883/topic", "mqtt://localhost?x=1", "::1:1883"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BrokerError, match="HOST:PORT"):
        BrokerAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("unix:", "whole path"),
        ("unix:agent.sock", "whole path"),
        ("unix:/run/broker/", "whole path"),
        ("unix:/run/\0", "whole path"),
        (f"unix:/{'ä' * 60}", "too long"),
    ],
)
def test_a_path_that_no_socket_can_have_is_refused(text: str, why: str) -> None:
    with pytest.raises(BrokerError, match=why):
        BrokerAddress.parse(text)


def test_a_socket_that_does_not_answer_says_why() -> None:
    with TemporaryDirectory() as folder:  # a short path, as sockets need
        path = Path(folder) / "agent.sock"
        address = BrokerAddress.parse(f"unix:{path}")
        with pytest.raises(FileNotFoundError, match=f"listener 0 {path}"):
            address.connect(1.0)
        path.touch()
        with pytest.raises(OSError, match="this is no socket"):
            address.connect(1.0)
        path.unlink()
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.bind(str(path))
            with pytest.raises(ConnectionRefusedError, match="is the broker up"):
                address.connect(1.0)


def test_a_network_is_crossed_with_tls_or_on_purpose() -> None:
    with pytest.raises(BrokerError, match=r"mqtts://mqtt\.example\.com:8883.*--insecure"):
        BrokerAddress.parse("mqtt.example.com:1883")
    assert not BrokerAddress.parse("mqtt.example.com:1883", insecure=True).tls


def test_secrets_do_not_stand_on_a_command_line() -> None:
    with pytest.raises(BrokerError, match="--password-file"):
        BrokerAddress.parse("mqtts://ada:secret@mqtt.example.com")


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="--ca-file needs TLS"):
        BrokerAddress.parse("localhost:1883", ca_file=tmp_path)
    with pytest.raises(BrokerError, match="--ca-file needs TLS"):
        BrokerAddress.parse("unix:/run/broker/agent.sock", ca_file=tmp_path)
    with pytest.raises(BrokerError, match="needs --username"):
        BrokerAddress.parse("localhost:1883", password_file=tmp_path)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    nonsense = tmp_path / "ca.pem"
    nonsense.write_text("no certificate")
    absent = tmp_path / "password"
    with pytest.raises(BrokerError, match=r"CA file .*ca\.pem"):
        BrokerAddress.parse("mqtts://localhost", ca_file=nonsense).prepare(client)
    asked = BrokerAddress.parse("localhost", username="ada", password_file=absent)
    with pytest.raises(BrokerError, match=r"password file .*password"):
        asked.prepare(client)


def test_the_text_of_an_address_is_one() -> None:
    tcp = ("localhost:1884", "mqtts://mqtt.example.com:8883", "[::1]:1883")
    for text in (*tcp, "unix:/run/broker/agent.sock"):
        assert str(BrokerAddress.parse(text)) == text


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("192.168.1.4", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - not bound, judged
        ("localhost", True),
        ("", False),
    ],
)
def test_loopback_is_this_machine(host: str, *, here: bool) -> None:
    assert is_this_machine(host) is here
