"""The embedded broker's own process: `python -m foreshock.brokers.embedded --port N`.

amqtt on loopback, anonymous, for as long as standard input stays open. For demonstrations and
smoke tests only: it speaks MQTT 3.1.1 and gives no delivery guarantee (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import click

from foreshock.brokers.ports import LOOPBACK

PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


async def serve(port: int) -> None:
    """Serve until the process ends.

    Raises:
        amqtt.errors.BrokerError: the port cannot be had.
    """
    from amqtt.broker import Broker  # noqa: PLC0415 - absent unless the demo is installed

    listener = {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}
    await Broker({"listeners": {"default": listener}, "plugins": PLUGINS}).start()
    await asyncio.Event().wait()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


@click.command(epilog="Example: python -m foreshock.brokers.embedded --port 21883 < /dev/tty")
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Loopback port.")
def main(port: int) -> None:
    """Run a demonstration broker on loopback until standard input closes."""
    logging.basicConfig(level=logging.WARNING)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    asyncio.run(serve(port))


if __name__ == "__main__":
    main()
