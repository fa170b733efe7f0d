"""Answer block requests, without letting a slow network fill the memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from foreshock_fleet.errors import UnknownBlockError, UnknownReleaseError
from foreshock_wire import topics
from foreshock_wire.signing import FILE_BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_fleet.repository import Repository
    from foreshock_wire.updates import BlockRequest, FileRequest

NO_SUCH_BLOCK: Final = b""
"""The answer to a request for a block that does not exist, so that a gateway need not wait."""


class BlockService:
    """Turns a `BlockRequest` or a `FileRequest` into (topic, bytes).

    `block_bytes_of(sha256)` is the release's block size. At most `budget_bytes` may be on their
    way to the broker; a request beyond it is left unanswered, and the gateway asks again.
    """

    def __init__(
        self,
        repository: Repository,
        block_bytes_of: Callable[[str], int],
        budget_bytes: int = 64 << 20,
    ) -> None:
        self._repository = repository
        self._block_bytes_of = block_bytes_of
        self._budget_bytes = budget_bytes
        self._pending: deque[tuple[Callable[[], bool], int]] = deque()
        self.sent_blocks = self.postponed_blocks = self.unknown_blocks = 0

    def answer(self, at: topics.Gateway, request: BlockRequest) -> tuple[str, bytes] | None:
        """Return what to publish, or None when too much is on its way already."""

        def read() -> bytes:
            size = self._block_bytes_of(request.sha256)
            return self._repository.block(request.sha256, request.index, size)

        return self._answer(topics.block(at, request.sha256, request.index), read)

    def answer_file(self, at: topics.Gateway, request: FileRequest) -> tuple[str, bytes] | None:
        """Return a block of a metadata file, or None when too much is on its way already."""

        def read() -> bytes:
            name, index = request.name, request.index
            return self._repository.metadata_block(name, index, FILE_BLOCK_BYTES)

        return self._answer(topics.file(at, request.name, request.index), read)

    def _answer(self, topic: str, read: Callable[[], bytes]) -> tuple[str, bytes] | None:
        if self._pending_bytes() >= self._budget_bytes:
            self.postponed_blocks += 1
            return None
        try:
            data = read()
        except (UnknownBlockError, UnknownReleaseError):
            self.unknown_blocks += 1
            return topic, NO_SUCH_BLOCK
        self.sent_blocks += 1
        return topic, data

    def sending(self, gone: Callable[[], bool], size: int) -> None:
        """Note a block that was given to the network; `gone()` says when that has taken it."""
        self._pending.append((gone, size))

    def connection_lost(self) -> None:
        """Forget what was on its way: the client library dropped it."""
        self._pending.clear()

    def _pending_bytes(self) -> int:
        while self._pending and self._pending[0][0]():
            self._pending.popleft()
        return sum(size for _, size in self._pending)
