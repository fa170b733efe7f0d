"""The embedded broker's own process: `python -m foreshock.brokers.embedded --port N`.

amqtt on loopback, anonymous, for as long as standard input stays open. For demonstrations and
smoke tests only: it speaks MQTT 3.1.1 and gives no delivery guarantee (docs/adr/0007).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING

import click

from foreshock.brokers.ports import LOOPBACK

if TYPE_CHECKING:
    from amqtt.broker import Broker
    from amqtt.session import Session

PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


def broker_class() -> type[Broker]:
    """Return amqtt's broker with its one habit mended that would mislead a gateway.

    amqtt 0.12 sends a client that connects the retained messages of every filter that anybody has
    subscribed to; so one gateway would be handed what another one shall run.
    """
    from amqtt.broker import Broker  # noqa: PLC0415 - absent unless the demo is installed

    class OwnRetainedOnly(Broker):  # type: ignore[misc]  # amqtt ships no types
        async def _publish_retained_messages_for_subscription(
            self, subscription: tuple[str, int], session: Session
        ) -> None:
            subscribers = self.subscriptions.get(subscription[0], [])
            if any(subscriber is session for subscriber, _ in subscribers):
                await super()._publish_retained_messages_for_subscription(subscription, session)

    return OwnRetainedOnly


async def serve(port: int) -> None:
    """Serve until the process ends.

    Raises:
        amqtt.errors.BrokerError: the port cannot be had.
    """
    listener = {"type": "tcp", "bind": f"{LOOPBACK}:{port}"}
    await broker_class()({"listeners": {"default": listener}, "plugins": PLUGINS}).start()
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
