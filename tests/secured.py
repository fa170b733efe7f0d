"""A Mosquitto that wants TLS and a login, as one across a network does."""

from __future__ import annotations

import datetime as dt
import getpass
import ipaddress
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from foreshock.brokers.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_S: Final = 30
USER: Final = "somebody"


class Secured(NamedTuple):
    """Where it listens, the authority it shows, another one, and the password of `USER`."""

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


@contextmanager
def secured_broker(folder: Path, mosquitto_binary: str) -> Iterator[Secured]:
    """Yield a running broker."""
    cert, key = certificate(folder, "broker")
    other, _ = certificate(folder, "other")
    users, password = folder / "users", folder / "password"
    password.write_text("correct horse\n")
    tool = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/sbin:/usr/local/bin")
    assert tool is not None
    subprocess.run([tool, "-b", "-c", str(users), USER, "correct horse"], check=True)
    port, config = free_port(), folder / "mosquitto.conf"
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
    """Say whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
