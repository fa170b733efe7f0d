"""A line to a broker that takes its time and loses blocks of model files: a TCP proxy on loopback.

What goes to the gateway is cut into MQTT packets (3.1.1, section 2.2). Each packet, in both
directions, comes `delay_s` late; one that carries a block is lost with the chance `loss`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import TYPE_CHECKING, Final, Self

from foreshock.brokers.ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PUBLISH: Final = 0x30
BLOCK: Final = b"/down/block/"


class LossyLine:
    """A context manager; clients connect to `port` on loopback, it connects to the broker."""

    def __init__(self, broker_port: int, *, delay_s: float, loss: float, seed: int = 1) -> None:
        self.port = free_port()
        self.blocks = self.lost = 0
        self._broker_port, self._delay_s, self._loss = broker_port, delay_s, loss
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        serving = asyncio.start_server(self._serve, LOOPBACK, self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection(LOOPBACK, self._broker_port)
        # Cancelled too: asyncio would tell of a handler that was.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await asyncio.gather(
                self._carry(lambda: reader.read(65_536), to_broker),
                self._carry(lambda: self._packet(from_broker), writer),
            )
        for end in (writer, to_broker):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _carry(
        self, read: Callable[[], Awaitable[bytes]], writer: asyncio.StreamWriter
    ) -> None:
        """Carry what is read, in its order, each part so late."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        task = asyncio.create_task(self._deliver(late, writer))
        try:
            while data := await read():
                late.put_nowait((self._loop.time() + self._delay_s, data))
        finally:
            task.cancel()

    async def _deliver(
        self, late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            at_s, data = await late.get()
            await asyncio.sleep(max(0.0, at_s - self._loop.time()))
            if not self._is_lost(data):
                writer.write(data)
                await writer.drain()

    async def _packet(self, reader: asyncio.StreamReader) -> bytes:
        head, length = await reader.readexactly(1), 0
        for place in range(4):
            byte = await reader.readexactly(1)
            head += byte
            length |= (byte[0] & 0x7F) << 7 * place
            if byte[0] < 0x80:  # noqa: PLR2004 - the last byte of a length
                break
        return head + await reader.readexactly(length)

    def _is_lost(self, packet: bytes) -> bool:
        if packet[0] & 0xF0 != PUBLISH or BLOCK not in packet[:256]:
            return False
        self.blocks += 1
        lost = self._chance.random() < self._loss
        self.lost += lost
        return lost
