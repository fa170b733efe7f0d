"""The order in which the edge saw its records, kept although files sort their rows otherwise.

An epoch's name says nothing about its age; but a stream comes up strictly oldest epoch first, so
the first stamp that the lake gave to an epoch dates it, and `seq` orders the records inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock_trainer.tables import INGESTED

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]


def arrival_order(table: pa.Table) -> pa.Table:
    """Return the rows by gateway, by epoch in the order of ingest, and by seq."""
    table = table.unify_dictionaries().combine_chunks()
    if not len(table):
        return table
    rank = _rank(_codes(table, "gateway"), _codes(table, "epoch"), table[INGESTED].to_numpy())
    return table.take(np.lexsort((table["seq"].to_numpy(), rank)))


def epoch_runs(table: pa.Table) -> Int64:
    """Number the runs of rows of the same gateway and epoch, from 0 (int64[n])."""
    gateway, epoch = _codes(table, "gateway"), _codes(table, "epoch")
    changes = (np.diff(gateway) != 0) | (np.diff(epoch) != 0)
    return np.concatenate([np.zeros(min(1, len(table)), np.int64), np.cumsum(changes)])


def _rank(gateway: Int64, epoch: Int64, ingested_ns: Int64) -> Int64:
    """Rank each row's epoch, by gateway and by its first stamp."""
    epochs = int(epoch.max()) + 1
    pair = gateway * epochs + epoch
    pairs = np.sort(pc.unique(pa.array(pair)).to_numpy())
    row = np.searchsorted(pairs, pair)
    first_ns = np.full(len(pairs), np.iinfo(np.int64).max)
    np.minimum.at(first_ns, row, ingested_ns)
    rank = np.empty(len(pairs), np.int64)
    rank[np.lexsort((first_ns, pairs // epochs))] = np.arange(len(pairs))
    return rank[row]


def _codes(table: pa.Table, name: str) -> Int64:
    """Number the names of a column in their alphabetical order (int64[n])."""
    column = table[name].combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    order = np.argsort(np.argsort(np.array(column.dictionary.to_pylist(), dtype=str)))
    return cast("Int64", order[column.indices.to_numpy()])
