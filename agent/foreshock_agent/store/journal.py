"""The open transaction in memory: what a disk refuses is written again, or given up and told.

A disk that is full or broken makes SQLite roll back. The calls that a transaction was made of are
remembered until it is durable; while the disk refuses, new ones are only remembered, and `retry`
makes all of them once more. When that has lasted too long, `shed` lets go of the bulk, which is
told as rejected, and keeps in bounded memory what matters: alarms and their heads, the machines'
states, what the lake acknowledged, and the accounts.
"""

from __future__ import annotations

import functools
import sqlite3
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from foreshock_agent.store.accounts import DISK_FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreshock_agent.store.accounts import Accounts

MOST_CALLS: Final = 20_000
"""Changes that wait in memory for a disk; an alarm or event beyond them is told to the plant alone.
Changes of the same thing count as one."""

_REFUSALS: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
)

Arguments = tuple[Any, ...]


def is_refusal(error: sqlite3.Error) -> bool:
    """Say whether the disk refused to write: it is full, read-only, broken or gone."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSALS


@dataclass(frozen=True, slots=True)
class Kind:
    """What a change is: `bulk` may be shed; of those with one key, `merge(old, new)` is enough."""

    name: str
    bulk: bool
    key: Callable[..., object] | None
    merge: Callable[[Arguments, Arguments], Arguments]


@dataclass(slots=True)
class Call:
    """One change, made again by making it again; `made` says whether the accounts have it."""

    kind: Kind
    make: Callable[..., None]
    arguments: Arguments
    made: bool = False


class Journaled(ABC):
    """A store whose changes are remembered until they are durable."""

    accounts: Accounts
    _db: sqlite3.Connection

    def __init__(self) -> None:
        self.refusal: sqlite3.Error | None = None
        self.shedding = False
        self._calls: list[Call] = []
        self._stored: dict[str, int] = {}

    @abstractmethod
    def _finish(self) -> None:
        """Write cursors and accounts, and end the transaction."""

    @abstractmethod
    def _read_again(self) -> None:
        """Bring what is in memory back to what the database holds."""

    @property
    def waiting(self) -> int:
        """How many changes wait in memory."""
        return len(self._calls)

    def _note_stored(self) -> None:
        """Remember the accounts of what is durable."""
        self._calls.clear()
        self._stored = {unit: self.accounts[f"{unit}.stored"] for unit in ("messages", "readings")}

    def commit(self) -> bool:
        """Make everything since the last commit durable; false if the disk refuses.

        Then nothing of it is lost yet: `retry` or `shed`.
        """
        if self.shedding:
            self._tell_shed()
        if self.refusal is not None:
            return False
        try:
            self._finish()
        except sqlite3.Error as error:
            self._refused(error)
            return False
        self._note_stored()
        return True

    def retry(self) -> bool:
        """Make the whole open transaction once more; false if the disk still refuses."""
        try:
            self._read_again()
            for call in self._calls:
                self._do(call)
            self._finish()
        except sqlite3.Error as error:
            self._refused(error)
            return False
        self.refusal = None
        self._note_stored()
        return True

    def shed(self) -> None:
        """Give up the bulk of the open transaction, and of what comes until `shedding` ends."""
        self.shedding = True
        self._tell_shed()
        kept: dict[object, Call] = {}
        for number, call in enumerate(self._calls):
            if call.kind.bulk:
                self._count_shed(call.kind.name, call.arguments)
            else:
                _keep(kept, number, call)
        beyond = list(kept)[MOST_CALLS:]
        for key in beyond:
            self._count_shed(kept.pop(key).kind.name, ())
        self._calls = list(kept.values())

    def _tell_shed(self) -> None:
        """Move what was counted as stored since the last commit to what was rejected."""
        for unit, durable in self._stored.items():
            given_up = self.accounts[f"{unit}.stored"] - durable
            self.accounts.add(f"{unit}.stored", -given_up)
            self.accounts.add(f"{unit}.rejected.{DISK_FULL}", given_up)

    def _count_shed(self, name: str, arguments: Arguments) -> None:
        if name == "add_scores":
            self.accounts.add(f"scores.rejected.{DISK_FULL}", len(arguments[0]))
        elif name == "add_record":
            self.accounts.add(f"records.rejected.{DISK_FULL}")

    def _refused(self, error: sqlite3.Error) -> None:
        """Roll back; a fault that is not the disk's is raised."""
        if not is_refusal(error):
            raise error
        self.refusal = error
        self.accounts.touch()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def noting_refusals(self) -> Iterator[None]:
        """Let the disk refuse what is done inside, which nobody misses."""
        try:
            yield
        except sqlite3.Error as error:
            self._refused(error)

    def make(self, call: Call) -> None:
        """Make a change, or only remember it while the disk refuses."""
        if self.shedding and call.kind.bulk:
            self._count_shed(call.kind.name, call.arguments)
            return
        self._calls.append(call)
        if self.refusal is None:
            with self.noting_refusals():
                self._do(call)

    def _do(self, call: Call) -> None:
        with self.accounts.muted(call.made):
            call.make(self, *call.arguments)
        call.made = True


def _keep(kept: dict[object, Call], number: int, call: Call) -> None:
    if call.kind.key is None:
        kept[number] = call
        return
    key = (call.kind.name, call.kind.key(*call.arguments))
    old = kept.pop(key, None)
    arguments = call.arguments if old is None else call.kind.merge(old.arguments, call.arguments)
    kept[key] = Call(call.kind, call.make, arguments)


def both_states(old: Arguments, new: Arguments) -> Arguments:
    """Return the arguments of one snapshot of machines in the place of two."""
    return (new[0], tuple((dict(old[1]) | dict(new[1])).items()))


def newest_alarm(old: Arguments, new: Arguments) -> Arguments:
    """Return the arguments of one alarm's head in the place of two."""
    machine, head, alarm = new
    return (machine, head, old[2] if alarm is None else alarm)


def _newest(_old: Arguments, new: Arguments) -> Arguments:
    return new


S = TypeVar("S", bound=Journaled)
P = ParamSpec("P")


def journaled(
    *,
    bulk: bool = False,
    key: Callable[..., object] | None = None,
    merge: Callable[[Arguments, Arguments], Arguments] = _newest,
) -> Callable[[Callable[Concatenate[S, P], None]], Callable[Concatenate[S, P], None]]:
    """Make a method of a `Journaled` one that is remembered until it is durable.

    Its arguments are values that do not change. It changes the database, then counts, and does the
    same when it is called again on the same database.
    """

    def decorate(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
        kind = Kind(method.__name__, bulk, key, merge)

        @functools.wraps(method)
        def remembered(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
            self.make(Call(kind, functools.partial(method, **kwargs), args))

        return remembered

    return decorate
