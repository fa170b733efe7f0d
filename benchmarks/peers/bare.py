"""A subscriber that does nothing but acknowledge, in bulk: how fast the broker itself can be.

It prints the number of messages ten times a second, and a zero (it scores nothing).
"""

from __future__ import annotations

import argparse
import socket
import struct
import threading
import time

from foreshock_wire.broker import BrokerAddress

SUBSCRIBE = b"\x00\x01\x00\x0fsingle/+/sample\x01"
CONNECT = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x04bare"
QOS_1 = 0x32
QOS_BITS = 0x36
MORE = 0x80
TIMEOUT_S = 10.0
GATHER_S = 0.002


class Bare:
    """The connection, and how many messages came."""

    def __init__(self, broker: BrokerAddress) -> None:
        self._socket = broker.connect(TIMEOUT_S)
        self._socket.settimeout(None)
        for kind, body, answer in ((b"\x10", CONNECT, 4), (b"\x82", SUBSCRIBE, 5)):
            self._socket.sendall(kind + bytes([len(body)]) + body)
            self._socket.recv(answer, socket.MSG_WAITALL)
        self.count = 0

    def run(self) -> None:
        """Acknowledge until the connection ends."""
        rest = b""
        while got := self._socket.recv(1 << 18):
            ids, rest = _packet_ids(rest + got)
            self.count += len(ids)
            self._socket.sendall(b"".join(b"\x40\x02" + one for one in ids))
            time.sleep(GATHER_S)


def _packet_ids(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the packet ids of whole PUBLISH packets, and what is cut."""
    ids, at = [], 0
    while at + 5 <= len(data):
        length, shift, body = 0, 0, at + 1
        while True:
            length |= (data[body] & ~MORE) << shift
            shift, body = shift + 7, body + 1
            if not data[body - 1] & MORE:
                break
        if body + length > len(data):
            break
        if data[at] & QOS_BITS == QOS_1 & QOS_BITS:
            topic = struct.unpack_from(">H", data, body)[0]
            ids.append(data[body + 2 + topic : body + 4 + topic])
        at = body + length
    return ids, data[at:]


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", type=BrokerAddress.parse, required=True)
    parser.add_argument("--folder", help="not used: it keeps nothing")
    bare = Bare(parser.parse_args().broker)
    threading.Thread(target=bare.run, daemon=True).start()
    while True:
        print(bare.count, 0, flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
