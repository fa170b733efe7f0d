"""Every topic of the contract is made, and taken apart, here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from foreshock_wire.errors import MessageError
from foreshock_wire.ids import check_id, shard_of

PREFIX: Final = "foreshock/v1"


class Stream(StrEnum):
    """The streams a gateway uploads, in order of priority."""

    ALARMS = "alarms"
    EVENTS = "events"
    SCORES = "scores"
    READINGS = "readings"


class Down(StrEnum):
    """What the centre says to one gateway."""

    ACK = "ack"
    DESIRED = "desired"
    COMMAND = "command"


class Up(StrEnum):
    """What a gateway says to the centre outside the uploaded streams."""

    REPORT = "report"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway's address: its site and its own id, both valid ids."""

    site: str
    gateway: str

    def __post_init__(self) -> None:
        check_id(self.site, "site")
        check_id(self.gateway, "gateway")

    @property
    def root(self) -> str:
        """The topic below which everything of this gateway lives."""
        return f"{PREFIX}/{self.site}/{self.gateway}"


def status(at: Gateway) -> str:
    """Local, retained: the agent's birth; its will is the death."""
    return f"{at.root}/status"


def score(at: Gateway, machine: str) -> str:
    """Local: each new score of a machine."""
    return f"{at.root}/machines/{check_id(machine, 'machine')}/score"


def alarm(at: Gateway, machine: str) -> str:
    """Local, retained: a machine's current alarm."""
    return f"{at.root}/machines/{check_id(machine, 'machine')}/alarm"


def alarm_command(at: Gateway, machine: str) -> str:
    """Local: an operator's acknowledge or shelve."""
    return f"{alarm(at, machine)}/command"


def any_alarm(at: Gateway) -> str:
    """Filter for the alarms of all machines of a gateway."""
    return f"{at.root}/machines/+/alarm"


def any_score(at: Gateway) -> str:
    """Filter for the scores of all machines of a gateway."""
    return f"{at.root}/machines/+/score"


def any_alarm_command(at: Gateway) -> str:
    """Filter for the alarm commands of all machines of a gateway."""
    return f"{at.root}/machines/+/alarm/command"


def machine_of(topic: str) -> str:
    """Return the machine in a score, alarm or command topic.

    Raises:
        MessageError: the topic is none of these.
    """
    parts = topic.split("/")
    if len(parts) < 7 or parts[4] != "machines":  # noqa: PLR2004 - foreshock/v1/site/gateway/machines/id/what
        raise MessageError(f"topic {topic!r} names no machine")
    return check_id(parts[5], "machine")


def uplink(at: Gateway, stream: Stream) -> str:
    """Cloud: batches of one stream of a gateway, under the shard that owns it."""
    return f"{PREFIX}/up/{shard_of(at.gateway)}/{at.site}/{at.gateway}/{stream}"


def shard_filter(shard: int) -> str:
    """Filter for everything that the gateways of one shard upload."""
    return f"{PREFIX}/up/{shard}/+/+/+"


def parse_uplink(topic: str) -> tuple[Gateway, Stream]:
    """Take an upload topic apart.

    Raises:
        MessageError: it is not one, names an unknown stream, or stands in the wrong shard.
    """
    parts = topic.split("/")
    try:
        *prefix, word, shard, site, gateway, stream = parts
        at, known = Gateway(site, gateway), Stream(stream)
    except ValueError:
        raise MessageError(f"topic {topic!r} is not an upload topic") from None
    if "/".join(prefix) != PREFIX or word != "up" or shard != str(shard_of(gateway)):
        raise MessageError(f"topic {topic!r} is not the upload topic of {gateway!r}")
    return at, known


def down(at: Gateway, what: Down) -> str:
    """Cloud: what the centre says to a gateway (`desired` is retained)."""
    return f"{at.root}/down/{what}"


def block(at: Gateway, sha256: str, index: int) -> str:
    """Cloud: one block of a model file on its way to a gateway; the payload is the bare bytes."""
    return f"{at.root}/down/block/{sha256}/{index}"


def any_block(at: Gateway) -> str:
    """Filter for all blocks on their way to a gateway."""
    return f"{at.root}/down/block/+/+"


def parse_block(topic: str) -> tuple[str, int]:
    """Return (sha256, index) of a block topic.

    Raises:
        MessageError: the topic is not one.
    """
    parts = topic.split("/")
    if len(parts) != 8 or parts[5] != "block" or not parts[7].isdecimal():  # noqa: PLR2004
        raise MessageError(f"topic {topic!r} is not a block topic")
    return parts[6], int(parts[7])


def up(at: Gateway, what: Up) -> str:
    """Cloud: what a gateway reports or asks for."""
    return f"{at.root}/up/{what}"


def any_up(what: Up) -> str:
    """Filter for one kind of report or request from all gateways."""
    return f"{PREFIX}/+/+/up/{what}"


def parse_up(topic: str) -> tuple[Gateway, Up]:
    """Return who says what in a report or request topic.

    Raises:
        MessageError: the topic is not one.
    """
    parts = topic.split("/")
    try:
        *prefix, site, gateway, word, what = parts
        known = Up(what)
    except ValueError:
        raise MessageError(f"topic {topic!r} is not a report topic") from None
    if "/".join(prefix) != PREFIX or word != "up":
        raise MessageError(f"topic {topic!r} is not a report topic")
    return Gateway(site, gateway), known
