"""Ids of sites, gateways, machines and channels: one alphabet for topics, files and tables."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final

from foreshock_wire.errors import InvalidIdError

ID_PATTERN: Final = r"[a-z0-9][a-z0-9_.-]{0,62}"
REMEMBERED: Final = 4096
"""Good ids that are not looked at again: the same ones come with every message."""

SHARDS: Final = 16
"""Number of ingest shards; part of the contract, because it is part of the topic."""

RESERVED_SITES: Final = frozenset({"up"})
"""Site ids that would make a gateway's topic look like an upload's."""

_ID = re.compile(ID_PATTERN)


@lru_cache(REMEMBERED)
def check_id(value: str, kind: str = "id") -> str:
    """Return `value` if it is a valid id.

    Raises:
        InvalidIdError: names the kind, the value and the alphabet.
    """
    if not _ID.fullmatch(value):
        raise InvalidIdError(
            f"{kind} {value!r} is not valid: use 1 to 63 of a-z 0-9 _ . - "
            "and begin with a letter or digit"
        )
    if kind == "site" and value in RESERVED_SITES:
        raise InvalidIdError(f"site {value!r} is reserved for upload topics: choose another name")
    return value


def shard_of(gateway: str) -> int:
    """Return the ingest shard (0 to SHARDS - 1) that owns `gateway`; stable for ever."""
    return zlib.crc32(gateway.encode()) % SHARDS
