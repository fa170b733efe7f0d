r"""What a process did to its files and said over its sockets, in order, as strace(1) heard it.

    1795516843.39 pwrite64(6</data/agent.db>, "\x53\x51", 2, 0) = 2

A call that another thread interrupts stands in two lines, its beginning and its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLS: Final = (
    "openat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,unlink,unlinkat,link,linkat,sendto,sendmsg"
)


def command(out: Path) -> list[str]:
    """Return what to put before a command; it keeps its process id, so that it can be killed."""
    options = ["-D", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}"]
    return ["strace", *options, "-e", "signal=none", "-o", str(out)]


@dataclass(frozen=True, slots=True)
class Call:
    """The beginning of a call; or its end when it succeeded, with the `result`.

    `paths` are the files that its arguments name, `data` what it wrote, `numbers` its integers.
    """

    name: str
    result: int | None
    paths: tuple[str, ...]
    data: bytes
    numbers: tuple[int, ...]
    flags: str

    @property
    def ended(self) -> bool:
        """Whether this is the end of the call."""
        return self.result is not None


_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+).*")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)\) += (-?\d+).*")
_FD = re.compile(r"\d+<((?:\\x[0-9a-f]{2})*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_NUMBER = re.compile(r"(?<![\w<])-?\d+(?![\w<])")


def calls(path: Path) -> Iterator[Call]:
    """Yield the calls of a trace in the order in which they began, and in which they ended."""
    begun: dict[str, Call] = {}
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if whole := _WHOLE.match(line):
                call = _call(whole[2], whole[3])
                yield call
                if int(whole[4]) >= 0:
                    yield replace(call, result=int(whole[4]))
            elif first := _BEGUN.match(line):
                call = begun[first[1]] = _call(first[2], first[3])
                yield call
            elif (rest := _RESUMED.match(line)) and int(rest[3]) >= 0:
                yield replace(begun.pop(rest[1]), result=int(rest[3]))


def _call(name: str, arguments: str) -> Call:
    files = [_bytes(one).decode(errors="replace") for one in _FD.findall(arguments)]
    texts = [_bytes(one) for one in _TEXT.findall(arguments)]
    bare = _TEXT.sub("", _FD.sub("", arguments))
    numbers = tuple(map(int, _NUMBER.findall(bare)))
    if name in {"write", "pwrite64", "sendto", "writev", "pwritev", "sendmsg"}:
        return Call(name, None, tuple(files), b"".join(texts), numbers, bare)
    named = [one.decode(errors="replace") for one in texts]
    at = named or files
    return Call(name, None, tuple(at), b"", numbers, bare)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
