"""The worker reaches a broker that wants TLS and a login, and trusts no other one."""

from __future__ import annotations

import datetime as dt
import getpass
import ipaddress
import shutil
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from foreshock.brokers.ports import free_port
from foreshock_trainer.worker import IngestWorker
from foreshock_wire.broker import BrokerAddress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock_trainer.lake import Lake

DEADLINE_S = 30


class Secured(NamedTuple):
    port: int
    ca: Path
    other_ca: Path
    password: Path


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def secured(tmp_path: Path, mosquitto_binary: str) -> Iterator[Secured]:
    cert, key = certificate(tmp_path, "broker")
    other, _ = certificate(tmp_path, "other")
    users, password = tmp_path / "users", tmp_path / "password"
    password.write_text("correct horse\n")
    tool = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/sbin:/usr/local/bin")
    assert tool is not None
    subprocess.run([tool, "-b", "-c", str(users), "ingest", "correct horse"], check=True)
    port, config = free_port(), tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
        f"certfile {cert}\nkeyfile {key}\nuser {getpass.getuser()}\n"
    )
    with subprocess.Popen([mosquitto_binary, "-c", str(config)]) as broker:
        end_s = time.monotonic() + DEADLINE_S
        while not accepts(port):
            assert time.monotonic() < end_s
            time.sleep(0.02)
        yield Secured(port, cert, other, password)
        broker.terminate()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def connects(lake: Lake, address: BrokerAddress, *, wanted: int, for_s: float) -> int:
    """Run a worker until it has connected as often as wanted, or for a while."""
    worker = IngestWorker(lake, address, (0,))
    thread = threading.Thread(target=worker.run)
    thread.start()
    end_s = time.monotonic() + for_s
    while worker.counters()["connects"] < wanted and time.monotonic() < end_s:
        time.sleep(0.02)
    worker.stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    return worker.counters()["connects"]


@pytest.mark.needs("mosquitto")
def test_tls_and_a_login_let_the_worker_in(secured: Secured, lake: Lake) -> None:
    address = BrokerAddress.parse(
        f"mqtts://127.0.0.1:{secured.port}",
        ca_file=secured.ca,
        username="ingest",
        password_file=secured.password,
    )
    assert connects(lake, address, wanted=1, for_s=DEADLINE_S) == 1


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*SSLSocket:ResourceWarning")
@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("wrong", ["another authority", "no login", "no TLS"])
def test_without_them_nobody_comes_in(
    secured: Secured, lake: Lake, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = "mqtt" if wrong == "no TLS" else "mqtts"
    address = BrokerAddress.parse(
        f"{tls}://127.0.0.1:{secured.port}",
        ca_file={"another authority": secured.other_ca, "no login": secured.ca}.get(wrong),
        username=None if wrong == "no login" else "ingest",
        password_file=None if wrong == "no login" else secured.password,
    )
    assert connects(lake, address, wanted=1, for_s=1.0) == 0
    assert f"127.0.0.1:{secured.port}" in caplog.text
