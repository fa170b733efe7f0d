"""From a message to what an operator wants of a machine's alarm, or why it is not obeyed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from foreshock_wire import topics
from foreshock_wire.errors import ForeshockError
from foreshock_wire.messages import AlarmCommand

if TYPE_CHECKING:
    from foreshock_agent.mqtt.link import Delivery

MOST_BYTES: Final = 4096
"""What is found at a machine goes up with the events, where a day's budget must hold it."""


class CommandRefusedError(ForeshockError):
    """A command that is not obeyed; the message says why."""


def command_of(message: Delivery) -> tuple[str, AlarmCommand]:
    """Return the machine, and what is asked.

    Raises:
        CommandRefusedError: it is retained, or too long.
        ForeshockError: it is no command, or for nothing that can be a machine.
    """
    if message.retained:
        # The broker would say it again at each connection, and acknowledge alarms to come.
        raise CommandRefusedError(f"{message.topic}: it was retained; publish it without that")
    if len(message.payload) > MOST_BYTES:
        raise CommandRefusedError(
            f"{message.topic}: {len(message.payload)} bytes are more than {MOST_BYTES}"
        )
    return topics.machine_of(message.topic), AlarmCommand.from_bytes(message.payload)
