"""Stamps of gateways' clocks that had no time yet, or were set: put right when they are read.

The lake keeps what a gateway wrote. A reading that brought no time of its own bears the time of its
arrival, which is told by both columns being equal; `ClockNoted` events say how wrong that clock was
(docs/wire.md). What the edge saw is left to whoever compares with the edge.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_wire.errors import MessageError
from foreshock_wire.messages import ClockKind, ClockNoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

SOURCE: Final = "clock"
"""What the events table's column `source` says about a note."""

KEY: Final = ("site", "gateway", "epoch")
COLUMNS: Final = (*KEY, "seq", "received_ns")
"""What is needed of readings beside their times."""

Epoch = tuple[str, str, str]


class Shifts(NamedTuple):
    """An epoch's stamps: those from `from_seq[i]` on are off by -`shift_ns[i]`; int64[n] each."""

    from_seq: Int64
    shift_ns: Int64

    def of(self, seq: Int64) -> Int64:
        """Return what has to be added to the stamps int64[n] of readings with these seqs."""
        added: Int64 = self.shift_ns[np.searchsorted(self.from_seq, seq, "right") - 1]
        return added


@dataclass(frozen=True, slots=True)
class Clocks:
    """How wrong the clocks of gateways were, by epoch; of others nothing is known."""

    epochs: Mapping[Epoch, Shifts] = field(default_factory=dict)

    @classmethod
    def read(cls, events: pa.Table) -> Self:
        """Take the notes out of the lake's events."""
        rows = events.filter(pc.equal(events["source"], SOURCE))
        names = (*KEY, "body")
        boots = defaultdict[Epoch, list[tuple[Epoch, ClockNoted]]](list)
        for site, gateway, epoch, body in zip(*(rows[n].to_pylist() for n in names), strict=True):
            try:
                note = ClockNoted.from_bytes(body)
            except MessageError as error:
                log.warning("what %s/%s notes of its clock is not used: %s", site, gateway, error)
                continue
            # Where nobody says which boot it was, an epoch stands for itself.
            boot = note.boot or f"epoch {epoch}"
            boots[site, gateway, boot].append(((site, gateway, epoch), note))
        return cls({key: one for notes in boots.values() for key, one in _of_boot(notes)})

    @property
    def columns(self) -> tuple[str, ...]:
        """Which columns of readings `put_right` needs; none where every clock was right."""
        return COLUMNS if self.epochs else ()

    def put_right(self, readings: pa.Table) -> pa.Table:
        """Return readings with stamps of arrival put right."""
        if not self.epochs:
            return readings
        time_ns = readings["time_ns"].to_numpy().copy()
        seq = readings["seq"].to_numpy()
        arrived = time_ns == readings["received_ns"].to_numpy()
        for key, shifts in self.epochs.items():
            rows = arrived & _rows_of(readings, key)
            time_ns[rows] += shifts.of(seq[rows])
        at = readings.schema.get_field_index("time_ns")
        return readings.set_column(at, "time_ns", pa.array(time_ns))


def _of_boot(notes: Sequence[tuple[Epoch, ClockNoted]]) -> Iterable[tuple[Epoch, Shifts]]:
    """Yield the shifts of the epochs of one boot: to where its clock stood at last."""
    in_order = sorted(notes, key=lambda one: one[1].boot_ns)
    last = in_order[-1][1]
    if last.kind is ClockKind.UNSET:
        return  # it never got its time, so nobody knows it
    for key in dict.fromkeys(key for key, _ in in_order):
        of_epoch = [note for one, note in in_order if one == key]
        first = of_epoch[0]
        offsets = [_offset_ns(first) - first.step_ns, *map(_offset_ns, of_epoch)]
        from_seq = [0, *(note.readings_seq for note in of_epoch)]
        shift_ns = _offset_ns(last) - np.array(offsets, np.int64)
        yield key, Shifts(np.array(from_seq, np.int64), shift_ns)


def _offset_ns(note: ClockNoted) -> int:
    return note.time_ns - note.boot_ns


def _rows_of(table: pa.Table, key: Epoch) -> npt.NDArray[np.bool_]:
    rows = np.ones(len(table), np.bool_)
    for name, value in zip(KEY, key, strict=True):
        rows &= pc.equal(table[name], value).to_numpy(zero_copy_only=False)
    return rows
