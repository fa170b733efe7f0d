"""The lake: Delta tables in one folder (or under one URL), written exactly once.

A commit carries rows and marks in one Delta transaction: the mark of a stream is the version of
the application id `gateway/epoch/stream` in that stream's table. A writer whose snapshot is older
than another writer's commit on the same stream gets `StaleMarksError` and must decide again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from foreshock_trainer.order import arrival_order, epoch_runs
from foreshock_trainer.query import select, where
from foreshock_trainer.tables import (
    GAPS,
    INGESTED,
    PARTITION,
    QUARANTINE,
    SCHEMAS,
    STREAMED,
    TELEMETRY,
    shape_of,
)
from foreshock_wire.errors import ForeshockError
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from foreshock_trainer.inbox import StreamKey
    from foreshock_trainer.query import Machines

_CONFIGURATION: Final = {
    # A worker commits several times a second: without these the log would keep a file of each for
    # 30 days. A writer whose snapshot is older than this must start again.
    "delta.logRetentionDuration": "interval 2 days",
    "delta.enableExpiredLogCleanup": "true",
}
_DIFFERENCES: Final = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
_FLOATS: Final = ColumnProperties(dictionary_enabled=False, encoding="BYTE_STREAM_SPLIT")
WRITER: Final = WriterProperties(
    # Measured on readings: 4.0 bytes a row, against 13.9 with the writer's own choice, and faster.
    compression="ZSTD",
    compression_level=1,
    max_row_group_size=32_768,
    column_properties={
        **dict.fromkeys((INGESTED, "seq", "time_ns", "received_ns", "scored_ns"), _DIFFERENCES),
        **dict.fromkeys(("value", "probability", "novelty"), _FLOATS),
    },
)
_ORDER: Final = ("gateway", "epoch", "seq", INGESTED)


class LakeError(ForeshockError):
    """The lake is absent, from another version, or cannot be read or written."""


class StaleMarksError(LakeError):
    """Another writer moved a mark since it was read: read the marks again and decide anew."""


class Lake:
    """Reads and writes the tables of `tables.SCHEMAS` under a folder or an object-store URL.

    Args:
        root: where the tables are.
        create: make the tables that are not there (a writer); else an absent lake is an error.
        now_ns: the clock that stamps commits, UTC nanoseconds.

    Raises:
        LakeError: no lake there, or one with other columns.
    """

    def __init__(
        self, root: Path | str, *, create: bool = False, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.root = root
        self._now_ns = now_ns
        self._last_ns = 0
        self._marks: dict[str, dict[str, int]] = {name: {} for name in SCHEMAS}
        self._snapshots = {name: self._open(name, create=create) for name in SCHEMAS}

    def _open(self, name: str, *, create: bool) -> DeltaTable:
        uri = f"{self.root}/{name}"
        try:
            return _checked(DeltaTable(uri), name)
        except TableNotFoundError:
            if not create:
                raise LakeError(
                    f"there is no lake at {self.root} (table '{name}' is missing): "
                    "fill one with `foreshock trainer ingest`"
                ) from None
            return self._create(name, uri)
        except (DeltaError, OSError) as error:
            raise LakeError(f"cannot open table '{name}' of lake {self.root}: {error}") from error

    def _create(self, name: str, uri: str) -> DeltaTable:
        try:
            if "://" not in uri:
                Path(uri).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                uri,
                SCHEMAS[name],
                mode="ignore",
                partition_by=[PARTITION],
                configuration=_CONFIGURATION,
            )
        except CommitFailedError:
            pass  # another worker made it first, which is as good
        except (DeltaError, OSError) as error:
            raise LakeError(f"cannot make table '{name}' of lake {self.root}: {error}") from error
        return _checked(DeltaTable(uri), name)

    # Marks and commits

    def mark(self, gateway: str, epoch: str, stream: Stream) -> int:
        """Return the last seq of a stream that the lake holds; 0 when it holds none."""
        return self.transaction(stream, f"{gateway}/{epoch}/{stream}")

    def mark_of(self, key: StreamKey) -> int:
        """Return the mark of `key`."""
        return self.transaction(key.stream, key.app_id)

    def transaction(self, table: str, app_id: str) -> int:
        """Return the version of an application transaction in a table's snapshot; 0 when absent."""
        marks = self._marks[table]
        if app_id not in marks:
            marks[app_id] = self._snapshot(table).transaction_version(app_id) or 0
        return marks[app_id]

    def append(self, table: str, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        """Commit rows and application transactions together; rows may be empty.

        `rows` has `tables.columns_of(table)`; the lake adds `date` and `ingested_ns`.

        Raises:
            StaleMarksError: another writer moved one of `transactions` since this lake read it;
                nothing was written, and the marks will be read again.
            LakeError: the commit failed, or what follows a commit did: the marks tell which.
        """
        delta = self._snapshot(table)
        before = delta.version()
        try:
            write_deltalake(
                delta,
                self._stamped(table, rows),
                mode="append",
                writer_properties=WRITER,
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(app, mark) for app, mark in transactions.items()]
                ),
            )
        except CommitFailedError as error:
            self.forget(table)
            raise StaleMarksError(
                f"another writer was faster on table '{table}': {error}"
            ) from error
        except (DeltaError, OSError) as error:
            self.forget(table)
            raise LakeError(f"cannot write table '{table}' of {self.root}: {error}") from error
        if delta.version() != before + 1:
            # The snapshot now holds somebody else's commits too. Marks that were read before them
            # would be older than the snapshot, and no conflict would tell.
            self._marks[table].clear()
        self._marks[table].update(transactions)

    def forget(self, table: str) -> None:
        """Drop what is known of a table: its newest version is read when it is next needed."""
        self._marks[table].clear()
        self._snapshots.pop(table, None)

    def _snapshot(self, table: str) -> DeltaTable:
        """Return the version that the marks were read from; it moves with our own commits only."""
        if table not in self._snapshots:
            self._snapshots[table] = self._open(table, create=False)
        return self._snapshots[table]

    def _stamped(self, table: str, rows: pa.Table) -> pa.Table:
        """Add the stamps; telemetry is put together by machine, so that a query skips the rest."""
        rows = rows.unify_dictionaries().combine_chunks()
        stamp = max(self._now_ns(), self._last_ns + 1)
        stamps = np.full(len(rows), stamp)
        if table in STREAMED:
            stamps += epoch_runs(rows)
        self._last_ns = int(stamps.max(initial=stamp))
        day = datetime.fromtimestamp(stamp // 1_000_000_000, UTC).date()
        whole = pa.table(
            [pa.repeat(pa.scalar(day, pa.date32()), len(rows)), stamps, *rows.columns],
            names=[PARTITION, INGESTED, *rows.column_names],
        ).select(SCHEMAS[table].names)
        if table not in TELEMETRY:
            return whole
        return whole.take(pc.sort_indices(whole["machine"].combine_chunks()))

    # Reading

    def version(self) -> dict[str, int]:
        """Return the newest version of each table: the provenance of what is read from it."""
        return {name: self.table(name).version() for name in SCHEMAS}

    def readings(
        self,
        machine: Machines = None,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return readings in arrival order: by gateway, epoch as ingested, and seq.

        Args:
            machine: one machine, several, or all (None).
            since_ns: source time, inclusive.
            until_ns: source time, exclusive.
            columns: names out of `tables.SCHEMAS["readings"]`; default all.

        Names (machine, channel ...) come as dictionary columns, to be small in memory.
        """
        return self._read(Stream.READINGS, machine, since_ns, until_ns, columns)

    def scores(
        self,
        machine: Machines = None,
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the scores that the gateways gave, in arrival order; arguments as `readings`."""
        return self._read(Stream.SCORES, machine, since_ns, until_ns, columns)

    def alarms(self, machine: Machines = None) -> pa.Table:
        """Return the changes of alarms in arrival order; `body` is the alarm's whole JSON."""
        return self._read(Stream.ALARMS, machine)

    def events(self, machine: Machines = None) -> pa.Table:
        """Return failures, maintenance and other events by machine and source time."""
        # Labels have no seq: what orders events is when they happened.
        rows = self._query(Stream.EVENTS, _everything(Stream.EVENTS, where(machine)))
        return rows.sort_by([("machine", "ascending"), ("time_ns", "ascending")])

    def gaps(self) -> pa.Table:
        """Return what retention dropped before it was uploaded, by range of seq."""
        return self._query(GAPS, _everything(GAPS))

    def quarantine(self) -> pa.Table:
        """Return the messages that could not be read, with the reason of each."""
        return self._query(QUARANTINE, _everything(QUARANTINE))

    def machines(self) -> list[str]:
        """Return the machines that have readings, sorted."""
        return sorted(self.reading_counts())

    def reading_counts(self) -> dict[str, int]:
        """Return how many readings each machine has that has any."""
        found = self.ask(
            Stream.READINGS, "SELECT machine, COUNT(*) AS readings FROM t GROUP BY machine"
        )
        names, counts = (found[name].to_pylist() for name in ("machine", "readings"))
        return dict(zip(names, counts, strict=True))

    def _read(
        self,
        table: str,
        machine: Machines,
        since_ns: int | None = None,
        until_ns: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        wanted = list(columns or SCHEMAS[table].names)
        needed = list(dict.fromkeys([*wanted, *_ORDER]))
        rows = self._query(table, select(table, needed, where(machine, since_ns, until_ns)))
        return arrival_order(rows).select(wanted)

    def _query(self, table: str, sql: str) -> pa.Table:
        rows = self.ask(table, sql)
        # The engine answers with views of text and bytes, which few others can work with.
        return rows.cast(pa.schema([shape_of(table).field(name) for name in rows.column_names]))

    def ask(self, table: str, sql: str) -> pa.Table:
        """Return the answer of a query on the newest version of a table, which is called `t`.

        Raises:
            LakeError: the table cannot be read.
        """
        # DataFusion skips row groups by their statistics, which pyarrow does not: one machine of
        # a hundred costs it a thirtieth.
        try:
            return pa.table(QueryBuilder().register("t", self.table(table)).execute(sql).read_all())
        except (DeltaError, OSError) as error:
            raise LakeError(f"cannot read table '{table}' of {self.root}: {error}") from error

    def table(self, name: str) -> DeltaTable:
        """Return the newest version of a table, as an object of the caller's own."""
        # Not the writer's own snapshot: that one must stay as old as the marks read from it.
        return self._open(name, create=False)


def _checked(delta: DeltaTable, name: str) -> DeltaTable:
    there = {field.name for field in delta.schema().fields}
    if missing := set(SCHEMAS[name].names) - there:
        raise LakeError(
            f"table '{name}' at {delta.table_uri} has no column {', '.join(sorted(missing))}: "
            "it was made by another version; ingest into a new folder"
        )
    return delta


def _everything(table: str, condition: str = "") -> str:
    return select(table, SCHEMAS[table].names, condition)
