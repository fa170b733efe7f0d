"""Whether a lake holds what it promised: every seq of every stream once, up to its mark.

A stream of a gateway's epoch is the sequence 1, 2, 3 ... up to the mark; each number stands in the
table once, or in a tombstone. Anything else is a fault of the lake, and is named.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from foreshock_trainer.inbox import StreamKey
from foreshock_trainer.query import select
from foreshock_trainer.tables import GAPS
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from foreshock_trainer.lake import Lake


@dataclass(frozen=True, slots=True)
class StreamAudit:
    """One stream of one epoch: rows, distinct seqs, and the mark, `dropped` by tombstones."""

    gateway: str
    epoch: str
    stream: str
    mark: int
    rows: int
    distinct: int
    last_seq: int
    dropped: int

    @property
    def missing(self) -> int:
        """How many numbers up to the mark stand neither in the table nor in a tombstone."""
        return self.mark - self.distinct - self.dropped

    @property
    def doubled(self) -> int:
        """How many rows have a number that another row has."""
        return self.rows - self.distinct

    @property
    def whole(self) -> bool:
        """Whether it adds up."""
        return not self.missing and not self.doubled and self.last_seq <= self.mark

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return asdict(self) | {"missing": self.missing, "doubled": self.doubled}


def audit(lake: Lake) -> list[StreamAudit]:
    """Return the account of every stream, by gateway, epoch and stream.

    Raises:
        LakeError: a table cannot be read.
    """
    dropped = _dropped(lake)
    found: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    for stream in Stream:
        columns = "gateway, epoch, count(*) AS n, count(DISTINCT seq) AS d, max(seq) AS last"
        sql = f"SELECT {columns} FROM t WHERE epoch IS NOT NULL GROUP BY gateway, epoch"  # noqa: S608 - constants
        for row in lake.ask(stream, sql).to_pylist():
            key = (row["gateway"], row["epoch"], str(stream))
            found[key] = row["n"], row["d"], row["last"]
    return [
        _account(lake, key, found.get(key, (0, 0, 0)), dropped.get(key, 0))
        for key in sorted({*found, *dropped})
    ]


def _account(
    lake: Lake, key: tuple[str, str, str], counts: tuple[int, int, int], dropped: int
) -> StreamAudit:
    gateway, epoch, stream = key
    mark = lake.mark_of(StreamKey(gateway, epoch, Stream(stream)))
    return StreamAudit(gateway, epoch, stream, mark, *counts, dropped)


def _dropped(lake: Lake) -> dict[tuple[str, str, str], int]:
    columns = ("gateway", "epoch", "stream", "first_seq", "last_seq")
    counts: dict[tuple[str, str, str], int] = {}
    for row in lake.ask(GAPS, select(GAPS, columns)).to_pylist():
        key = (row["gateway"], row["epoch"], row["stream"])
        counts[key] = counts.get(key, 0) + row["last_seq"] - row["first_seq"] + 1
    return counts
