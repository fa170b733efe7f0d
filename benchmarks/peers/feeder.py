"""Frames from a file into a broker, faster than anybody takes them out.

QoS 1 on a raw socket with a window of unacknowledged messages. Each line on standard input says how
many messages the consumer has: the feeder never runs further ahead than told, so that what is
measured is a steady flow and not the depth of the broker's queue.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

from foreshock_wire.broker import BrokerAddress

WINDOW = 1_000
"""Most messages that the broker has not acknowledged."""

PUBACK_BYTES = CONNACK_BYTES = 4
WAIT_S = 0.002
TIMEOUT_S = 10.0


def connect(broker: BrokerAddress) -> socket.socket:
    """Open a session of MQTT 3.1.1 without keepalive; the broker runs on this machine."""
    connection = broker.connect(TIMEOUT_S)
    connection.settimeout(None)
    name = b"feeder"
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack(">H", len(name)) + name
    connection.sendall(b"\x10" + bytes([len(body)]) + body)
    answer = connection.recv(CONNACK_BYTES, socket.MSG_WAITALL)
    if answer[:1] != b"\x20" or answer[3]:
        raise ConnectionError(f"the broker {broker} refused the feeder: {answer!r}")
    return connection


class Feeder:
    """The frames, how fast they may go out, and how far the consumer is."""

    def __init__(self, frames: Path, ahead: int, per_s: float) -> None:
        self._data = memoryview(frames.read_bytes())
        index = json.loads(frames.with_suffix(".json").read_text())
        self._ends: list[int] = index["ends"]
        self._at_once: int = index["at_once"]
        self._messages: int = index["messages"]
        self._ahead, self._per_s = ahead, per_s
        self._taken = 0

    def listen(self) -> None:
        """Hear how far the consumer is."""
        for line in sys.stdin:
            self._taken = int(line)

    def run(self, broker: BrokerAddress) -> None:
        """Send all frames."""
        with connect(broker) as connection:
            sent = unacknowledged = begin = 0
            began_s = time.monotonic()
            for end in self._ends:
                count = min(self._at_once, self._messages - sent)
                self._hold_back(sent, began_s)
                connection.sendall(self._data[begin:end])
                begin, sent, unacknowledged = end, sent + count, unacknowledged + count
                while unacknowledged > (WINDOW if sent < self._messages else 0):
                    unacknowledged -= _pubacks(connection)

    def _hold_back(self, sent: int, began_s: float) -> None:
        while sent - self._taken > self._ahead:
            time.sleep(WAIT_S)
        if self._per_s:
            time.sleep(max(0.0, began_s + sent / self._per_s - time.monotonic()))


def _pubacks(connection: socket.socket) -> int:
    """Return how many acknowledgements came; what is cut is read to its end."""
    got = connection.recv(1 << 16)
    if not got:
        raise ConnectionError("the broker closed the feeder's connection")
    if cut := len(got) % PUBACK_BYTES:
        got += connection.recv(PUBACK_BYTES - cut, socket.MSG_WAITALL)
    return len(got) // PUBACK_BYTES


def main() -> None:
    """Send a file of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--ahead", type=int, required=True)
    parser.add_argument("--per-s", type=float, default=0.0, help="Messages a second; 0: no limit.")
    options = parser.parse_args()
    feeder = Feeder(options.frames, options.ahead, options.per_s)
    threading.Thread(target=feeder.listen, daemon=True).start()
    feeder.run(options.broker)


if __name__ == "__main__":
    main()
