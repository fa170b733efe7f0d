"""How a command is told to reach a broker: an address, and what crosses a network safely."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self
from urllib.parse import urlsplit

from foreshock_wire.errors import ForeshockError

UNIX: Final = "unix:"
"""Stands before the path of a Unix socket, in the place of a host."""

SOCKET_PATH_BYTES: Final = 103
"""The longest path that a socket can have everywhere (macOS; Linux takes four more)."""

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
"""Schemes and the ports that IANA gave them."""


class BrokerError(ForeshockError):
    """A broker's address or credentials that cannot be used."""


class _Client(Protocol):
    """What is needed of an MQTT client (paho's)."""

    on_socket_open: Any

    def username_pw_set(self, username: str, password: str | None = None) -> None: ...
    def tls_set_context(self, context: ssl.SSLContext) -> None: ...


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker listens, and who asks.

    `host` is a name, an address, or `unix:PATH` for a socket of this machine, where a port says
    nothing. `tls` checks the broker's certificate against `ca_file`, or against the system's
    authorities; the password is the first line of `password_file`.
    """

    host: str
    port: int = PORTS["mqtt"]
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
        """Return the address that HOST:PORT, mqtts://HOST:PORT (mqtt://) or unix:PATH names.

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
            raise BrokerError(f"--ca-file needs TLS: give mqtts://HOST:{PORTS['mqtts']}")
        if password_file is not None and username is None:
            raise BrokerError("--password-file needs --username")
        return cls(host, port, tls, ca_file, username, password_file)

    def prepare(self, client: _Client) -> None:
        """Give an MQTT client the credentials, the TLS settings, and a socket that does not wait.

        Raises:
            BrokerError: a file cannot be read, or holds no certificate.
        """
        if self.username is not None:
            client.username_pw_set(self.username, self.password())
        if (context := self.context()) is not None:
            client.tls_set_context(context)
        client.on_socket_open = lambda _client, _data, opened: _send_at_once(opened)

    @property
    def transport(self) -> Literal["tcp", "unix"]:
        """How bytes get there, in paho's words."""
        return "unix" if self.host.startswith(UNIX) else "tcp"

    @property
    def place(self) -> str:
        """The host, or the socket's path: what a client connects to."""
        return self.host.removeprefix(UNIX)

    def connect(self, timeout_s: float) -> socket.socket:
        """Return a connection, before any TLS.

        Raises:
            OSError: nobody answers; of a Unix socket it says why, and the way out.
        """
        if self.transport == "unix":
            return _connected(self.place, timeout_s)
        connected = socket.create_connection((self.host, self.port), timeout_s)
        _send_at_once(connected)
        return connected

    def __str__(self) -> str:
        if self.transport == "unix":
            return self.host
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


def check_socket(host: str) -> None:
    """Check the path in `unix:PATH`; another host is left alone.

    Raises:
        BrokerError: no socket can have that path.
    """
    path = host.removeprefix(UNIX)
    if path == host:
        return
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise BrokerError(
            f"{host!r} is no path of a socket: give the whole path, like "
            f"{UNIX}/run/foreshock-broker/agent.sock"
        )
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise BrokerError(
            f"{host} is too long for a socket: at most {SOCKET_PATH_BYTES} bytes behind {UNIX}"
        )


def _send_at_once(connected: socket.socket) -> None:
    """Let small messages not wait for the other end's delayed TCP acknowledgement, 40 ms."""
    if connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _connected(path: str, timeout_s: float) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(timeout_s)
    try:
        connected.connect(path)
    except OSError as error:
        connected.close()
        raise type(error)(_why(error, path)) from None
    return connected


def _why(error: OSError, path: str) -> str:
    """Say what a failure to connect to a Unix socket means, and what to do."""
    match error:
        case FileNotFoundError():
            return f"no such socket; is the broker up, with a line `listener 0 {path}`?"
        case PermissionError():
            return "this user may not reach the socket: let it into the socket's group"
        case _ if Path(path).exists() and not Path(path).is_socket():
            return f"this is no socket: give the path of the broker's line `listener 0 {path}`"
        case _:
            return f"nobody answers at the socket ({error}); is the broker up?"


def is_this_machine(host: str) -> bool:
    """Say whether a host is this machine: its loopback by name or by address, or a Unix socket.

    An IPv6 address may have a scope id or be a mapped IPv4 address.
    """
    if host == "localhost" or host.startswith(UNIX):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _parts(text: str) -> tuple[str, str, int]:
    problem = BrokerError(
        f"broker {text!r} is not HOST:PORT, mqtts://HOST:PORT or unix:PATH, like localhost:1883"
    )
    if text.startswith(UNIX):
        check_socket(text)
        return "mqtt", text, PORTS["mqtt"]
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
