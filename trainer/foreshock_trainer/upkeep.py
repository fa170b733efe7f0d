"""What keeps a lake quick and small: many commits make many small files, and replaced files stay.

Nothing here changes a row: files are put together, clustered by machine, and removed once nobody
can be reading them. Each step looks at what is there, so it may be killed and run again at any
time, beside writers and beside another upkeep: a table that somebody else is rewriting waits for
the next time.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError

from foreshock_trainer.lake import WRITER, LakeError
from foreshock_trainer.tables import PARTITION, SCHEMAS, TELEMETRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from deltalake import DeltaTable

    from foreshock_trainer.lake import Lake

log = logging.getLogger(__name__)

FILE_BYTES: Final = 128 << 20
"""Size of a file that is large enough."""
SPILL_BYTES: Final = 1 << 30
"""Memory that clustering may take before it uses the disk."""
FEW_FILES: Final = 4
"""A day in so many files needs nothing."""
KEEP_H: Final = 168
"""A replaced file stays for a week: a reader or a writer may have begun before."""
EVERY_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Done:
    """What an upkeep did: files put together, days clustered by machine, files removed."""

    compacted: int = 0
    clustered_days: int = 0
    removed: int = 0
    busy_tables: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def keep_up(lake: Lake, *, now_ns: int, keep_h: int = KEEP_H) -> Done:
    """Compact today, cluster the days before, and remove what was replaced over `keep_h` ago.

    Raises:
        LakeError: a table cannot be read or rewritten.
    """
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date()
    counts: Counter[str] = Counter()
    for name in SCHEMAS:
        try:
            counts.update(_keep_up_table(lake.table(name), name, today, keep_h))
        except CommitFailedError:
            counts["busy_tables"] += 1
        except (DeltaError, OSError) as error:
            raise LakeError(f"upkeep of table '{name}' of {lake.root}: {error}") from error
        lake.forget(name)
    return Done(**counts)


def _keep_up_table(delta: DeltaTable, name: str, today: date, keep_h: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for day, files in crowded_days(delta).items():
        chosen: Any = [(PARTITION, "=", day)]
        if name in TELEMETRY and day < today.isoformat():
            # Once a day is over, all its rows of a machine come together: a query of one machine
            # then reads a part of one file. By machine alone: a z-order interleaves bits, and names
            # with a common beginning would be scattered by the bits of any second column.
            delta.optimize.z_order(
                ["machine"],
                partition_filters=chosen,
                target_size=FILE_BYTES,
                max_concurrent_tasks=1,
                max_spill_size=SPILL_BYTES,
                writer_properties=WRITER,
            )
            counts["clustered_days"] += 1
        else:
            delta.optimize.compact(
                partition_filters=chosen, target_size=FILE_BYTES, writer_properties=WRITER
            )
            counts["compacted"] += files
    counts["removed"] += len(delta.vacuum(keep_h, dry_run=False))
    if counts.total():
        # Whoever opens the table reads the log from the newest checkpoint on.
        delta.create_checkpoint()
    delta.cleanup_metadata()
    return counts


def crowded_days(delta: DeltaTable) -> dict[str, int]:
    """Return the number of files of each day that has many more than its bytes need."""
    files = pa.table(delta.get_add_actions(flatten=True))
    bytes_of: Counter[str] = Counter()
    count_of: Counter[str] = Counter()
    days = files[f"partition.{PARTITION}"].to_pylist()
    for day, size in zip(days, files["size_bytes"].to_pylist(), strict=True):
        bytes_of[str(day)] += size
        count_of[str(day)] += 1
    return {
        day: count
        for day, count in sorted(count_of.items())
        if count > FEW_FILES + 2 * bytes_of[day] // FILE_BYTES
    }


class Caretaker:
    """Keeps a lake up from time to time, in a thread beside the worker that commits.

    Args:
        open_lake: opens a lake object of its own for each time.
        now_ns: the clock, UTC.
        every_s: how long to wait between two times.
    """

    def __init__(
        self, open_lake: Callable[[], Lake], now_ns: Callable[[], int], every_s: float = EVERY_S
    ) -> None:
        self._open_lake = open_lake
        self._now_ns = now_ns
        self._every_s = every_s
        self._stopping = threading.Event()
        # A rewrite may take minutes; it may be left at any moment, so nobody waits for it.
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self.times = 0

    def start(self) -> None:
        """Begin; the first time comes after `every_s`."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is left, and done again another time."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                done = keep_up(self._open_lake(), now_ns=self._now_ns())
            except LakeError as error:
                log.warning("the lake is kept up another time: %s", error)
            else:
                self.times += 1
                log.info("upkeep: %s", done.as_dict())
