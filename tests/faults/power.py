"""A disk whose power is cut: what was synced is there, what was not is there, gone or torn.

Replays the calls of a trace. Until its file is synced, every sector that was written may or may
not have reached the disk, whatever the order; a new name may be gone until its folder is synced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

    from tests.faults.trace import Call

SECTOR: Final = 512

Keep = float
"""How likely a sector that was not synced is on the disk: 0 none, 1 all, between them torn."""


@dataclass(slots=True)
class Written:
    """One change of a file that was not synced yet: bytes at an offset, or with None a new size."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class File:
    """What of a file is certain, and what is not.

    `named` says whether its name is certain; until then `replaced` may still be found there.
    """

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written] = field(default_factory=list)
    named: bool = False
    replaced: File | None = None

    def after_a_cut(self, dice: random.Random, keep: Keep) -> bytes:
        """Return what a disk without power may hold."""
        content = bytearray(self.durable)
        for one in self.pending:
            if one.data is None:
                if dice.random() < keep:
                    _resize(content, one.offset)
                continue
            for start in _sectors(one):
                if dice.random() < keep:
                    part = one.data[max(0, start - one.offset) : start + SECTOR - one.offset]
                    _write(content, max(start, one.offset), part)
        return bytes(content)

    @property
    def size(self) -> int:
        """How long the running system sees it."""
        size = len(self.durable)
        for one in self.pending:
            size = one.offset if one.data is None else max(size, one.offset + len(one.data))
        return size

    def sync(self, count: int) -> None:
        """Make the first so many changes certain."""
        for one in self.pending[:count]:
            if one.data is None:
                _resize(self.durable, one.offset)
            else:
                _write(self.durable, one.offset, one.data)
        del self.pending[:count]


def _sectors(one: Written) -> range:
    assert one.data is not None
    return range(one.offset - one.offset % SECTOR, one.offset + len(one.data), SECTOR)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class Disk:
    """The files of one folder. Memory that two processes share (`-shm`) is gone with the power.

    A name is certain when its folder was synced, or a new file itself (as on ext4 and XFS); a
    deletion at once. Who uses write(2) writes from the beginning of the file to its end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, File] = {}
        self._syncing: dict[str, int] = {}
        self._tails: dict[str, int] = {}

    def replay(self, call: Call) -> None:
        """Take one more call: what it writes counts from its beginning, a sync from its end."""
        paths = [one for one in call.paths if self._is_ours(one)]
        if not paths:
            return
        path, kind = paths[0], call.name.removesuffix("at").removesuffix("at2")
        if call.name in {"fsync", "fdatasync"}:
            self._sync(path, ended=call.ended)
        elif call.name in {"pwrite64", "write", "ftruncate", "fallocate"}:
            if not call.ended:
                self._change(path, call)
        elif kind in {"open", "rename", "unlink"}:
            if call.ended:
                self._name(kind, paths, call.flags)
        else:
            raise NotImplementedError(f"{call.name} of {path}")

    def _is_ours(self, path: str) -> bool:
        return Path(path).is_relative_to(self._folder) and not path.endswith("-shm")

    def _change(self, path: str, call: Call) -> None:
        tail = self._tails.get(path, 0)
        what = {
            "pwrite64": lambda: Written(call.numbers[-1], call.data),
            "write": lambda: Written(tail, call.data),
            "ftruncate": lambda: Written(call.numbers[-1], None),
            "fallocate": lambda: Written(sum(call.numbers[-2:]), None),
        }[call.name]()
        if call.name == "fallocate" and what.offset <= self._files[path].size:
            return
        self._tails[path] = tail + len(call.data)
        self._files[path].pending.append(what)

    def _name(self, kind: str, paths: list[str], flags: str) -> None:
        path = paths[0]
        if kind == "unlink":
            self._files.pop(path, None)
        elif kind == "rename":
            before, file = self._files.get(paths[1]), self._files.pop(path)
            file.named, file.replaced = False, before if before and before.named else None
            self._files[paths[1]] = file
        elif "O_TRUNC" in flags and path in self._files:
            self._files[path].pending.append(Written(0, None))
        elif "O_CREAT" in flags:
            self._files.setdefault(path, File())
        self._tails[path] = 0

    def _sync(self, path: str, *, ended: bool) -> None:
        file = self._files.get(path)
        if file is not None and not ended:
            self._syncing[path] = len(file.pending)
        elif file is not None:
            file.sync(self._syncing.pop(path))
            file.named |= file.replaced is None
        elif ended:
            self._sync_folder(Path(path))

    def _sync_folder(self, folder: Path) -> None:
        for path, file in self._files.items():
            if Path(path).parent == folder:
                file.named, file.replaced = True, None

    def cut(self, into: Path, dice: random.Random, keep: Keep) -> None:
        """Write what may be found after a cut at this moment."""
        for path, file in self._files.items():
            found = file if file.named or dice.random() < keep else file.replaced
            if found is not None:
                target = into / Path(path).relative_to(self._folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(found.after_a_cut(dice, keep))
