"""Which shards a worker owns: text like `0-7,12` from the command line and back."""

from __future__ import annotations

import re

from foreshock_wire.errors import ForeshockError
from foreshock_wire.ids import SHARDS

_PART = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse_shards(text: str) -> tuple[int, ...]:
    """Return the shards that `text` names, sorted.

    Raises:
        ForeshockError: it is not like `0-7,12`, or names a shard that does not exist.
    """
    shards: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ForeshockError(f"shards {text!r}: write numbers and ranges like 0-7,12")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < SHARDS:
            raise ForeshockError(f"shards {text!r}: {part!r} is not within 0 to {SHARDS - 1}")
        shards.update(range(first, last + 1))
    return tuple(sorted(shards))


def format_shards(shards: tuple[int, ...]) -> str:
    """Return the shortest text of sorted shards, like `0-7,12`."""
    parts: list[list[int]] = []
    for shard in shards:
        if parts and parts[-1][-1] == shard - 1:
            parts[-1][1:] = [shard]
        else:
            parts.append([shard])
    return ",".join("-".join(map(str, part)) for part in parts)
