"""The cable between a client and its broker, which a test may pull, squeeze and listen to.

A TCP proxy on loopback. It can cut its connections, stop one direction or both while they stay
open, and leave a client alone with a connection whose other end is gone. It reads along: what was
delivered and acknowledged is known from the wire and not from what the client says of itself.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from foreshock.brokers.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PUBLISH: Final = 0x30
PUBACK: Final = 0x40
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER at 0 s: closing sends RST, as a host does that lost its memory of the connection."""


class Frames:
    """Cuts a stream of bytes into MQTT packets (MQTT 3.1.1, section 2.2)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, body) of each packet that is complete."""
        self._rest += data
        while frame := self._next():
            yield frame

    def _next(self) -> tuple[int, bytes] | None:
        length = 0
        for at, byte in enumerate(self._rest[1:5]):
            length |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                end = 2 + at + length
                break
        else:
            return None
        if len(self._rest) < end:
            return None
        frame = self._rest[0], self._rest[end - length : end]
        self._rest = self._rest[end:]
        return frame


@dataclass(slots=True)
class Heard:
    """What went over the wire: QoS 1 messages to the client, and what it acknowledged."""

    delivered: int = 0
    repeated: int = 0
    stray_acks: int = 0
    acknowledged: list[tuple[str, bytes]] = field(default_factory=list)


class _Connection:
    """One client and one broker; `under_way` holds by packet id what the client was sent."""

    def __init__(self, client: socket.socket, broker: socket.socket, heard: Heard) -> None:
        self.client, self.broker = client, broker
        self.deserted = False
        self._heard = heard
        self._down, self._up = Frames(), Frames()
        self._under_way: dict[int, tuple[str, bytes]] = {}

    def hear_broker(self, data: bytes) -> None:
        for first, body in self._down.feed(data):
            if first & 0xF6 == PUBLISH | 0x02:  # any DUP and RETAIN, QoS 1
                (size,) = struct.unpack_from(">H", body)
                (packet_id,) = struct.unpack_from(">H", body, 2 + size)
                self._under_way[packet_id] = (body[2 : 2 + size].decode(), body[4 + size :])
                self._heard.delivered += 1
                self._heard.repeated += bool(first & 0x08)

    def hear_client(self, data: bytes) -> None:
        for first, body in self._up.feed(data):
            if first == PUBACK:
                (packet_id,) = struct.unpack_from(">H", body)
                message = self._under_way.pop(packet_id, None)
                if message is None:
                    self._heard.stray_acks += 1
                else:
                    self._heard.acknowledged.append(message)

    def close(self) -> None:
        for end in (self.client, self.broker):
            _reset(end)


class Cable:
    """Listens on `port` and passes everything on to the broker's; a context manager."""

    def __init__(self, broker_port: int) -> None:
        self.port = free_port()
        self.heard = Heard()
        self.connects = 0
        self._broker_port = broker_port
        self._plugged = True
        self._up, self._down = threading.Event(), threading.Event()
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        self.thaw()

    def cut(self) -> None:
        """End all connections with a reset; new ones may come at once."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def unplug(self) -> None:
        """Cut, and let no new connection through until `plug`."""
        self._plugged = False
        self.cut()

    def plug(self) -> None:
        """Let connections through again."""
        self._plugged = True

    def freeze(self) -> None:
        """Stop both directions; connections stay open, and new ones hear nothing."""
        self._up.clear()
        self._down.clear()

    def hold_back(self) -> None:
        """Stop what the client says, its acknowledgements too; it goes on hearing the broker."""
        self._up.clear()

    def thaw(self) -> None:
        """Let everything flow again, what was held back first."""
        self._up.set()
        self._down.set()

    def desert(self) -> None:
        """Take the broker away from the present connections without a word to the clients."""
        with self._lock:
            for connection in self._connections:
                connection.deserted = True
                _reset(connection.broker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _reset(self._listener)
        self.unplug()
        self.thaw()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connects += 1
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            if not self._plugged:
                raise ConnectionRefusedError
            broker = socket.create_connection((LOOPBACK, self._broker_port))
        except OSError:
            _reset(client)
            return
        for end in (client, broker):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one = _Connection(client, broker, self.heard)
        with self._lock:
            self._connections.append(one)
        up = (one, client, broker, self._up, one.hear_client)
        down = (one, broker, client, self._down, one.hear_broker)
        for direction in (up, down):
            threading.Thread(target=self._pump, args=direction, daemon=True).start()

    def _pump(
        self,
        connection: _Connection,
        source: socket.socket,
        sink: socket.socket,
        gate: threading.Event,
        hear: Callable[[bytes], None],
    ) -> None:
        """Pass on in one direction until either end is gone."""
        try:
            while data := source.recv(65_536):
                if source is connection.client:
                    hear(data)  # the client has said it, whether or not it arrives
                gate.wait()
                if source is connection.broker:
                    hear(data)
                if not connection.deserted:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            if not (connection.deserted and source is connection.broker):
                connection.close()


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
    end.close()
