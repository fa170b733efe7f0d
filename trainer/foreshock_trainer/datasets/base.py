"""What an entry of the registry says of a data set, and what its reader gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from foreshock_wire.spec import Channel


class DataError(ForeshockError):
    """A data set that cannot be used: names the file, what is wrong with it, and the way out."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file as the origin publishes it: size and SHA-256 are those of the uncompressed bytes.

    `name` is its path below the data set's folder; `subset` is the part of the data set that it
    belongs to, "" where there are no parts.
    """

    name: str
    size_bytes: int
    sha256: str
    subset: str = ""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set: where it comes from, what is in it, and the protocol by which it is judged.

    `page` tells about it; `download` is the address of the file or zip at the origin, None where
    only a person can fetch it; `licence` and `protocol` are words; `tries` says how many settings
    were tried, on training data, before the figures of record were read. `fleet` reads a subset
    as the lives of machines, None for a data set that is no record of machines over time; `sheet`
    reads it as rows with the official split. One without files is made on this machine, as its
    protocol tells.
    """

    name: str
    title: str
    page: str
    download: str | None
    licence: str
    protocol: str
    tries: int
    files: tuple[DataFile, ...]
    fleet: FleetReader | None = None
    sheet: SheetReader | None = None

    @property
    def subsets(self) -> tuple[str, ...]:
        """The subsets, in order; ("",) for a data set without."""
        return tuple(dict.fromkeys(file.subset for file in self.files)) or ("",)

    def files_of(self, subset: str | None) -> tuple[DataFile, ...]:
        """Return the files of a subset, or all of them (None).

        Raises:
            DataError: there is no such subset, or the data set is not one of files.
        """
        if not self.files:
            raise DataError(f"{self.name} has no files. {self.protocol}")
        if subset is not None and subset not in self.subsets:
            raise DataError(
                f"{self.name} has no subset {subset!r}: there are {', '.join(self.subsets)}"
            )
        return tuple(file for file in self.files if subset in {None, file.subset})


class FleetReader(Protocol):
    """Reads one subset out of a folder of verified files."""

    def __call__(self, folder: Path, subset: str) -> Fleet:
        """Return what the files hold.

        Raises:
            DataError: they cannot be read.
        """


class SheetReader(Protocol):
    """Reads one subset out of a folder of verified files, as rows."""

    def __call__(self, folder: Path, subset: str, seed: int) -> Sheet:
        """Return the rows and their parts; `seed` matters only where the protocol draws lots.

        Raises:
            DataError: the files cannot be read.
        """


class Part(StrEnum):
    """What a row is for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    NONE = ""
    """In an embargo, or of unknown outcome: for nothing."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of a data set: columns of N values by name, and what each row is for.

    `part` [N] of `Part`; `answers` are the columns that no model may read, the label first;
    `group` and `time` name the columns that say which machine a row is of and when it was, None
    where there is none. `rule` and `embargo` tell in words how the rows were parted; `by_group`
    promises that no group stands in two parts.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    part: npt.NDArray[np.str_]
    answers: tuple[str, ...]
    group: str | None
    time: str | None
    rule: str
    embargo: str
    by_group: bool


@dataclass(frozen=True, slots=True)
class Life:
    """One machine's readings in order of time, and what became of it.

    `channel` int64[n] indexes the fleet's channels; `time_ns` int64[n], UTC; `value` float32[n].
    The recording ends at `end_ns`; the machine failed at `failure_ns`, which lies beyond the end
    where the recording was cut short.
    """

    machine: str
    channel: npt.NDArray[np.int64]
    time_ns: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]
    end_ns: int
    failure_ns: int

    def only(self, channels: Sequence[int]) -> Life:
        """Return the readings of some channels, numbered in the order given."""
        place = np.full(max(channels, default=0) + 1 + int(self.channel.max(initial=0)), -1)
        place[list(channels)] = np.arange(len(channels))
        moved = place[self.channel]
        kept = moved >= 0
        return replace(
            self, channel=moved[kept], time_ns=self.time_ns[kept], value=self.value[kept]
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a subset holds: machines to learn from, and machines that only test.

    `mode` names the failure that ends every life; `counter` the context channel that counts
    samples, a machine's age; `vouched` are channels that look like a label and are a sensor;
    `period_s` is the time between two samples,
    `horizon_h` how far ahead the protocol asks, and `length` the window in samples, chosen on
    training machines and filled by the shortest test machine.
    """

    channels: tuple[Channel, ...]
    train: tuple[Life, ...]
    test: tuple[Life, ...]
    mode: str
    counter: str
    vouched: tuple[str, ...]
    period_s: float
    horizon_h: float
    length: int

    def samples(self, life: Life) -> int:
        """Return how many samples a machine's recording holds."""
        begin_ns = int(life.time_ns[0])
        return -int((begin_ns - life.end_ns) // round(self.period_s * 1e9))

    def some(self, train: int | None, test: int | None) -> Fleet:
        """Return the fleet with so many machines of each side, evenly spread; None is all."""
        return replace(self, train=_spread(self.train, train), test=_spread(self.test, test))

    def only(self, channels: Sequence[int]) -> Fleet:
        """Return the fleet with some of its channels, in the order given."""
        return replace(
            self,
            channels=tuple(self.channels[i] for i in channels),
            train=tuple(life.only(channels) for life in self.train),
            test=tuple(life.only(channels) for life in self.test),
        )


def _spread(lives: tuple[Life, ...], most: int | None) -> tuple[Life, ...]:
    if most is None or most >= len(lives):
        return lives
    return tuple(lives[i * len(lives) // most] for i in range(most))
