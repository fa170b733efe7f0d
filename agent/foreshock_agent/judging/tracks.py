"""The numbers that stand for names in the hot path: a track is one channel of one machine."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_rules.rings import NEVER, NO_CHANNEL
from foreshock_wire.errors import InvalidIdError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from foreshock_wire.batch import Readings

    Int64 = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

NO_TRACK: Final = -1
"""Stands for a channel whose name is no id: it could be stored but never travel."""

MAX_TRACKS: Final = 60_000
"""A source that invents names must not fill the memory, nor the name tables of a batch."""


class MachineTracks(dict[str, int]):
    """The tracks of one machine by channel; asking for an unknown channel makes its track."""

    def __init__(self, tracks: Tracks, machine: str) -> None:
        super().__init__()
        self._tracks = tracks
        self._machine = machine

    def __missing__(self, channel: str) -> int:
        """Return a channel's track; NO_TRACK where its name is no id, or there are too many."""
        track = self._tracks.number(self._machine, channel)
        if track != NO_TRACK:
            self[channel] = track
        return track


class Tracks:
    """All machines, channels and tracks that were ever stored, numbered from 0 as they came.

    `machine` and `channel` int64[tracks] tell a track's parts. Views that may be written to:
    `newest_ns`, the newest time stored; `settled_ns`, the newest one that was no future stamp;
    `remembered_ns`, from when on every stored reading is in the memory for copies (`recent.py`).
    All are NEVER at first.
    """

    def __init__(self) -> None:
        self.machines: list[str] = []
        self.channels: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}
        self._machine_numbers: dict[str, int] = {}
        self._channel_numbers: dict[str, int] = {}
        self._table = np.empty((5, 0), np.int64)
        self._told_full = False

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def machine(self) -> Int64:
        """The machine of each track; a view."""
        return self._table[0, : len(self)]

    @property
    def channel(self) -> Int64:
        """The channel of each track; a view."""
        return self._table[1, : len(self)]

    @property
    def newest_ns(self) -> Int64:
        """The newest stored time of each track."""
        return self._table[2, : len(self)]

    @property
    def settled_ns(self) -> Int64:
        """The newest stored time of each track that lay not in the future."""
        return self._table[3, : len(self)]

    @property
    def remembered_ns(self) -> Int64:
        """From when on the memory of each track has no hole."""
        return self._table[4, : len(self)]

    def of(self, machine: str) -> MachineTracks:
        """Return a machine's tracks; its name is a valid id."""
        return MachineTracks(self, machine)

    def machine_number(self, machine: str) -> int:
        """Return a machine's number."""
        return _numbered(machine, self._machine_numbers, self.machines)

    def name(self, track: int) -> tuple[str, str]:
        """Return the names of a track's machine and channel."""
        if track == NO_TRACK:
            return "?", "?"
        return self.machines[self.machine[track]], self.channels[self.channel[track]]

    def columns(self, channels: Sequence[str]) -> Int64:
        """Return each track's place among `channels`, NO_CHANNEL where its own is none of them."""
        places = {name: place for place, name in enumerate(channels)}
        by_channel = [places.get(name, NO_CHANNEL) for name in self.channels]
        return np.array(by_channel, np.int64)[self.channel]

    def numbers(self, batch: Readings) -> Int64:
        """Return the track of each reading of a batch: one look-up per track that it holds."""
        if len(batch.machines) == 1:
            known = [self._numbers.get((batch.machines[0], name)) for name in batch.channels]
            if None not in known:
                return np.array(known, np.int64).take(batch.channel)
        channels = len(batch.channels)
        pair = batch.channel.astype(np.int64)
        if len(batch.machines) > 1:
            pair += batch.machine.astype(np.int64) * channels
        found = np.empty(len(batch.machines) * channels, np.int64)
        for used in np.flatnonzero(np.bincount(pair)).tolist():
            machine, channel = divmod(used, channels)
            found[used] = self.number(batch.machines[machine], batch.channels[channel])
        numbers: Int64 = found[pair]
        return numbers

    def number(self, machine: str, channel: str) -> int:
        """Return the track of a channel, made if need be; NO_TRACK where there can be none."""
        known = self._numbers.get((machine, channel))
        if known is not None:
            return known
        try:
            check_id(channel, "channel")
        except InvalidIdError:
            return NO_TRACK
        return self._made(machine, channel) if len(self) < MAX_TRACKS else self._refused(machine)

    def _refused(self, machine: str) -> int:
        if not self._told_full:
            self._told_full = True
            log.error(
                "%d channels are known: a new one of %s is refused, and so is any other (counted "
                "as invalid_id); does a source invent names?",
                len(self),
                machine,
            )
        return NO_TRACK

    def _made(self, machine: str, channel: str) -> int:
        made = len(self)
        if made == self._table.shape[1]:
            more = np.full((5, max(64, made)), NEVER, np.int64)
            self._table = np.concatenate([self._table, more], axis=1)
        channel_number = _numbered(channel, self._channel_numbers, self.channels)
        self._table[:2, made] = self.machine_number(machine), channel_number
        self._numbers[machine, channel] = made
        return made


def _numbered(name: str, numbers: dict[str, int], names: list[str]) -> int:
    number = numbers.setdefault(name, len(names))
    if number == len(names):
        names.append(name)
    return number
