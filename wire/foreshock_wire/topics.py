"""Every topic of the contract is made, and taken apart, here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from foreshock_wire.errors import InvalidIdError, MessageError
from foreshock_wire.ids import check_id, shard_of

PREFIX: Final = "foreshock/v1"

_MACHINE = re.compile(rf"{PREFIX}/[^/]+/[^/]+/machines/([^/]+)/(?:score|alarm|alarm/command)")
_UPLINK = re.compile(rf"{PREFIX}/up/([0-9]+)/([^/]+)/([^/]+)/([^/]+)")
_BLOCK = re.compile(rf"{PREFIX}/[^/]+/[^/]+/down/block/([0-9a-f]{{64}})/(0|[1-9][0-9]{{0,8}})")
_FILE = re.compile(rf"{PREFIX}/[^/]+/[^/]+/down/file/([a-z0-9.]{{1,48}})/(0|[1-9][0-9]{{0,8}})")
_UP = re.compile(rf"{PREFIX}/([^/]+)/([^/]+)/up/([^/]+)")


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
    FILE = "file"
    HEALTH = "health"


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
    (machine,) = _parts(_MACHINE, topic, "machine's")
    try:
        return check_id(machine, "machine")
    except InvalidIdError as error:
        raise MessageError(f"topic {topic!r}: {error}") from None


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
    _, site, gateway, stream = _parts(_UPLINK, topic, "upload")
    try:
        at, known = Gateway(site, gateway), Stream(stream)
    except (InvalidIdError, ValueError) as error:
        raise MessageError(f"topic {topic!r}: {error}") from None
    if topic != uplink(at, known):
        raise MessageError(f"topic {topic!r} is in the wrong shard: expected {uplink(at, known)}")
    return at, known


def down(at: Gateway, what: Down) -> str:
    """Cloud: what the centre says to a gateway (`desired` is retained)."""
    return f"{at.root}/down/{what}"


def halt() -> str:
    """Cloud, retained: the emergency stop of the whole fleet."""
    return f"{PREFIX}/down/halt"


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
    sha256, index = _parts(_BLOCK, topic, "block")
    return sha256, int(index)


def file(at: Gateway, name: str, index: int) -> str:
    """Cloud: one block of a metadata file on its way to a gateway; the payload is bare bytes."""
    return f"{at.root}/down/file/{name}/{index}"


def any_file(at: Gateway) -> str:
    """Filter for all blocks of metadata files on their way to a gateway."""
    return f"{at.root}/down/file/+/+"


def is_file(topic: str) -> bool:
    """Say whether a topic is a metadata file's block."""
    return _FILE.fullmatch(topic) is not None


def parse_file(topic: str) -> tuple[str, int]:
    """Return (name, index) of a metadata file's block topic.

    Raises:
        MessageError: the topic is not one.
    """
    name, index = _parts(_FILE, topic, "metadata file's")
    return name, int(index)


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
    site, gateway, what = _parts(_UP, topic, "report")
    try:
        return Gateway(site, gateway), Up(what)
    except (InvalidIdError, ValueError) as error:
        raise MessageError(f"topic {topic!r}: {error}") from None


def _parts(pattern: re.Pattern[str], topic: str, kind: str) -> tuple[str, ...]:
    match = pattern.fullmatch(topic)
    if match is None:
        raise MessageError(f"topic {topic!r} is not a {kind} topic")
    return match.groups()
