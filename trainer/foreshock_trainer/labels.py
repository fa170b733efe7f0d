"""Labels: the work orders' view of the machines, and what people answered to alarms.

They come from a table file (`label_files`), from an answer on the command line, or up from a
gateway, into the lake's events table. A label that is already there adds nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from foreshock_trainer.ingest import MAX_ATTEMPTS
from foreshock_trainer.lake import LakeError, StaleMarksError
from foreshock_trainer.tables import columns_of
from foreshock_wire.errors import ForeshockError, InvalidIdError
from foreshock_wire.ids import check_id
from foreshock_wire.times import TimeTextError, rfc3339, time_ns
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from foreshock_trainer.lake import Lake

SOURCE: Final = "labels"
"""What the events table's column `source` says about a row that came as a label ..."""
ANSWER: Final = "answer"
"""... and about one that is an answer to an alarm."""

_APP_ID: Final = "labels"


class Kind(StrEnum):
    """What can happen to a machine."""

    FAILURE = "failure"
    MAINTENANCE = "maintenance"
    INSTALLED = "installed"
    REPAIRED = "repaired"
    OBSERVED_UNTIL = "observed_until"
    CONFIRMED = "confirmed"
    FALSE_ALARM = "false_alarm"


class LabelError(ForeshockError):
    """A label that cannot be understood; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Label:
    """One event of a machine (`time_ns` UTC)."""

    machine: str
    time_ns: int
    kind: Kind
    mode: str | None = None
    detail: str | None = None
    source: str = SOURCE


def put_labels(lake: Lake, labels: Iterable[Label]) -> int:
    """Put labels into the lake, each once; return how many were not there yet.

    Raises:
        LakeError: the lake cannot be written.
    """
    wanted = dict.fromkeys(labels)
    for _ in range(MAX_ATTEMPTS):
        # The counter is read before the table: labels that another writer adds in between move
        # it, and the commit is then refused.
        counter = lake.transaction(Stream.EVENTS, _APP_ID)
        held = set(labels_of(lake))
        fresh = [label for label in wanted if label not in held]
        if not fresh:
            return 0
        try:
            lake.append(Stream.EVENTS, _rows(fresh), {_APP_ID: counter + len(fresh)})
        except StaleMarksError:
            continue
        return len(fresh)
    raise LakeError(f"other writers were faster {MAX_ATTEMPTS} times: add the labels again")


def labels_of(lake: Lake, machine: str | None = None) -> list[Label]:
    """Return the labels that the lake holds, each once, by machine and time."""
    found = (
        Label(
            row["machine"],
            row["time_ns"],
            Kind(row["kind"]),
            row["mode"],
            row["detail"],
            row["source"],
        )
        for row in lake.events(machine).to_pylist()
        if row["source"] in {SOURCE, ANSWER} and row["kind"] in set(Kind) and row["machine"]
    )
    return list(dict.fromkeys(found))


def answer_alarm(
    lake: Lake, machine: str, answer: str, *, mode: str | None, found: str | None, at_ns: int | None
) -> Label:
    """Answer a machine's newest alarm (raised by `at_ns`, if given); return the label.

    Raises:
        LabelError: the machine had no alarm by then.
    """
    rows = lake.alarms(machine).to_pylist()
    told = [row["time_ns"] for row in rows if at_ns is None or row["time_ns"] <= at_ns]
    if not told:
        by = "" if at_ns is None else f" by {rfc3339(at_ns)}"
        raise LabelError(
            f"the lake holds no alarm of machine {machine}{by}: nothing can be answered; a finding "
            "without an alarm is added with `foreshock trainer labels add`"
        )
    label = Label(machine, at_ns or max(told), Kind(answer), mode, found, ANSWER)
    put_labels(lake, [label])
    return label


def parse_label(row: Mapping[str, str]) -> Label:
    """Return the label that a row of the five columns means.

    Raises:
        LabelError: a field is missing, surplus or not what its column holds.
    """
    if None in row or None in row.values():
        raise LabelError("it does not have as many fields as the header")
    try:
        machine, kind = check_id(row["machine"].strip(), "machine"), Kind(row["kind"].strip())
        at_ns = time_ns(row["time"].strip())
    except (InvalidIdError, TimeTextError) as error:
        raise LabelError(str(error)) from None
    except ValueError:
        raise LabelError(f"kind {row['kind']!r} is none of {', '.join(Kind)}") from None
    return Label(
        machine,
        at_ns,
        kind,
        row["mode"].strip() or None,
        row["detail"].strip() or None,
    )


def _rows(labels: Iterable[Label]) -> pa.Table:
    schema = columns_of(Stream.EVENTS)
    rows = []
    for label in labels:
        fields = {
            "machine": label.machine,
            "time_ns": label.time_ns,
            "kind": str(label.kind),
            "mode": label.mode,
            "detail": label.detail,
        }
        rows.append(fields | {"source": label.source, "body": json.dumps(fields)})
    return pa.Table.from_pylist(rows, schema=schema)
