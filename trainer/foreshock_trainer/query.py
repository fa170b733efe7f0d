"""The SQL that reads a table of the lake: pure text, and only from names that were checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from foreshock_trainer.tables import SCHEMAS, shape_of
from foreshock_wire.errors import ForeshockError
from foreshock_wire.ids import check_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Machines: TypeAlias = str | Sequence[str] | None


def select(table: str, columns: Sequence[str], where: str = "") -> str:
    """Return the query of `columns` from the table registered as `t`.

    Raises:
        ForeshockError: the table has no such column.
    """
    if unknown := set(columns) - set(SCHEMAS[table].names):
        raise ForeshockError(f"table {table!r} has no column {', '.join(sorted(unknown))}")
    return f"SELECT {', '.join(_column(table, name) for name in columns)} FROM t {where}"  # noqa: S608 - see above


def where(machine: Machines, since_ns: int | None = None, until_ns: int | None = None) -> str:
    """Return the condition on machine and source time (`since_ns` inclusive, `until_ns` not).

    Raises:
        InvalidIdError: a machine's name is not an id.
    """
    parts = []
    if machine is not None:
        names = [machine] if isinstance(machine, str) else machine
        quoted = ", ".join(f"'{check_id(name, 'machine')}'" for name in names)
        parts.append(f"machine IN ({quoted})" if quoted else "false")
    if since_ns is not None:
        parts.append(f"time_ns >= {int(since_ns)}")
    if until_ns is not None:
        parts.append(f"time_ns < {int(until_ns)}")
    return "WHERE " + " AND ".join(parts) if parts else ""


def _column(table: str, name: str) -> str:
    kind = shape_of(table).field(name).type
    if pa.types.is_dictionary(kind):
        return f"arrow_cast({name}, 'Dictionary(Int32, Utf8)') AS {name}"
    return name
