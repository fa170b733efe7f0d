"""Readings counted three times, independently: the plant's own log, the gateways, the lake.

None of the roles' own counters is asked. Each side gives its readings by identity (machine,
channel, source time), and what is lost, invented or doubled is the difference of those sets.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from foreshock_wire.batch import Readings


class Identity(NamedTuple):
    """What makes a reading that reading."""

    machine: str
    channel: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Distinct readings at each station, and the differences between stations.

    `lost` was published and is not in the lake; `invented` is in the lake and was never published;
    `altered` has another value there; `duplicated` counts the lake's rows beyond the first.
    """

    published: int
    stored: int
    delivered: int
    lost: int
    lost_before_store: int
    invented: int
    altered: int
    duplicated: int

    def problems(self) -> list[str]:
        """Return what does not add up, in words."""
        words = {
            "lost": "published readings are not in the lake",
            "lost_before_store": "published readings are in no gateway's database",
            "invented": "readings in the lake were never published",
            "altered": "readings in the lake have another value than was published",
            "duplicated": "readings stand more than once in the lake",
        }
        found = [
            f"{getattr(self, name)} {text}" for name, text in words.items() if getattr(self, name)
        ]
        # Nothing is not proof: three empty stations would agree.
        return found if self.published else ["the plant published no reading", *found]


def compare(
    published: dict[Identity, float], stored: set[Identity], delivered: list[tuple[Identity, float]]
) -> Ledger:
    """Set the three stations side by side (pure)."""
    rows = Counter(identity for identity, _ in delivered)
    altered = sum(
        1
        for identity, value in delivered
        if identity in published and np.float32(published[identity]) != np.float32(value)
    )
    return Ledger(
        published=len(published),
        stored=len(stored),
        delivered=len(rows),
        lost=len(published.keys() - rows.keys()),
        lost_before_store=len(published.keys() - stored),
        invented=len(rows.keys() - published.keys()),
        altered=altered,
        duplicated=rows.total() - len(rows),
    )


def published_readings(log: Path) -> dict[Identity, float]:
    """Read the plant's log of every message it published."""
    return {
        Identity(machine, channel, time_ns): value
        for machine, time_ns, body in _messages(log)
        for channel, value in body.items()
    }


def _messages(log: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            body = json.loads(entry["payload"])
            time_ns = body.pop("t")
            yield entry["machine"], time_ns, body


def stored_readings(databases: Iterable[Path]) -> set[Identity]:
    """Read the gateways' SQLite files."""
    from foreshock_agent.store import chunks  # noqa: PLC0415 - only the summary needs it

    found: set[Identity] = set()
    for database in databases:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
        try:
            for batch in chunks.stored_readings(connection):
                found.update(_identities(batch))
        finally:
            connection.close()
    return found


def _identities(batch: Readings) -> Iterator[Identity]:
    columns = (batch.machine.tolist(), batch.channel.tolist(), batch.time_ns.tolist())
    for machine, channel, time_ns in zip(*columns, strict=True):
        yield Identity(batch.machines[machine], batch.channels[channel], time_ns)


def delivered_readings(lake: Path, site: str) -> list[tuple[Identity, float]]:
    """Read the lake's readings of one site with Delta's own reader, not with ours."""
    columns = ["machine", "channel", "time_ns", "value"]
    table = delta_table(lake / "readings", columns, [("site", "=", site)])
    values = (table.column(name).to_pylist() for name in columns)
    return [
        (Identity(machine, channel, time_ns), value)
        for machine, channel, time_ns, value in zip(*values, strict=True)
    ]


def delta_table(
    path: Path, columns: list[str], filters: list[tuple[str, str, str]] | None = None
) -> pa.Table:
    """Read columns of a Delta table on this disk.

    By Arrow's own files: Delta's are Python objects, which Arrow's threads may still ask for when
    the interpreter ends, and that aborts the process after all is said and done.
    """
    from deltalake import DeltaTable  # noqa: PLC0415 - only the summary needs it
    from pyarrow import fs  # noqa: PLC0415 - only the summary needs it

    files = fs.SubTreeFileSystem(str(path), fs.LocalFileSystem())
    table = DeltaTable(str(path))
    return table.to_pyarrow_table(columns=columns, filesystem=files, filters=filters)


def first_publish_ns(log: Path) -> dict[str, list[tuple[int, int]]]:
    """Return per machine (source time, wall clock of publication), in order of publication."""
    found: dict[str, list[tuple[int, int]]] = {}
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            found.setdefault(entry["machine"], []).append((entry["time_ns"], entry["published_ns"]))
    return found
