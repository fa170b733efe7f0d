"""How a command is told to reach a broker: an address, and what crosses a network safely."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self
from urllib.parse import urlsplit

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from pathlib import Path

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
"""Schemes and the ports that IANA gave them."""


class BrokerError(ForeshockError):
    """A broker's address or credentials that cannot be used."""


class _Client(Protocol):
    """What is needed of an MQTT client (paho's)."""

    def username_pw_set(self, username: str, password: str | None = None) -> None: ...
    def tls_set_context(self, context: ssl.SSLContext) -> None: ...


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens, and who asks.

    `tls` checks the broker's certificate against `ca_file`, or against the system's authorities;
    the password is the first line of `password_file`.
    """

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        ca_file: Path | None = None,
        username: str | None = None,
        password_file: Path | None = None,
        insecure: bool = False,
    ) -> Self:
        """Return the address that HOST:PORT, mqtt://HOST:PORT or mqtts://HOST:PORT names.

        A network is crossed with TLS, unless `insecure` says that it is protected itself.

        Raises:
            BrokerError: it is no address, crosses a network in the clear, or options contradict.
        """
        scheme, host, port = _parts(text)
        tls = scheme == "mqtts"
        if not (tls or insecure or is_this_machine(host)):
            raise BrokerError(
                f"broker {host} is across a network: give mqtts://{host}:{PORTS['mqtts']} "
                "(with --ca-file if its authority is your own), or --insecure if the network "
                "itself is protected"
            )
        if ca_file is not None and not tls:
            raise BrokerError(f"--ca-file needs TLS: give mqtts://{host}:{PORTS['mqtts']}")
        if password_file is not None and username is None:
            raise BrokerError("--password-file needs --username")
        return cls(host, port, tls, ca_file, username, password_file)

    def prepare(self, client: _Client) -> None:
        """Give an MQTT client the credentials and the TLS settings.

        Raises:
            BrokerError: a file cannot be read, or holds no certificate.
        """
        if self.username is not None:
            client.username_pw_set(self.username, self.password())
        if (context := self.context()) is not None:
            client.tls_set_context(context)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts://' if self.tls else ''}{host}:{self.port}"

    def password(self) -> str | None:
        """Return the password for `username`.

        Raises:
            BrokerError: its file cannot be read.
        """
        if self.username is None or self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").split("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BrokerError(f"password file {self.password_file}: {error}") from None

    def context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS, if it is spoken.

        Raises:
            BrokerError: the authorities' file cannot be read, or holds no certificate.
        """
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise BrokerError(f"CA file {self.ca_file}: {error}") from None


def is_this_machine(host: str) -> bool:
    """Say whether a host is this machine's loopback, by name or by address.

    An IPv6 address may have a scope id or be a mapped IPv4 address.
    """
    if host == "localhost":
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _parts(text: str) -> tuple[str, str, int]:
    problem = BrokerError(
        f"broker {text!r} is not HOST:PORT or mqtts://HOST:PORT, like localhost:1883"
    )
    try:
        url = urlsplit(text if "://" in text else f"mqtt://{text}")
        host, port = url.hostname, url.port
    except ValueError:
        raise problem from None
    if url.username is not None or url.password is not None:
        raise BrokerError(
            "a password on a command line is seen by everyone on this machine: give --username "
            "and --password-file"
        )
    further = url.path.strip("/") or url.query or url.fragment
    if url.scheme not in PORTS or not host or port == 0 or url.netloc.endswith(":") or further:
        raise problem
    return url.scheme, host, port or PORTS[url.scheme]
