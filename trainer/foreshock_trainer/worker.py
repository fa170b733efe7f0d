"""The ingest worker: MQTT in rounds, one commit per table and round, and only then the answers.

Messages are acknowledged to the broker as they come, before they are committed. That is safe,
because the broker's word counts for nothing here: a gateway sends an upload again until the *lake*
acknowledges it. So a worker may be killed at any point; what was not committed comes again, what
was committed but not answered is recognised by its mark and answered then.
"""

from __future__ import annotations

import logging
import random
import signal
import time
from typing import TYPE_CHECKING, Final

from foreshock_trainer.ingest import Ingest
from foreshock_trainer.lake import LakeError
from foreshock_trainer.link import UplinkLink
from foreshock_trainer.shards import format_shards

if TYPE_CHECKING:
    from foreshock_trainer.ingest import Answer, Message
    from foreshock_trainer.lake import Lake
    from foreshock_wire.broker import BrokerAddress

log = logging.getLogger(__name__)

ROUND_S: Final = 0.3
"""A round is committed this long after its first message at the latest ..."""
QUIET_S: Final = 0.05
"""... or when nothing more came for this long (a gateway waits for its answer)."""
ROUND_MESSAGES: Final = 1000
ROUND_BYTES: Final = 32 << 20
IDLE_S: Final = 0.5
"""How long a stop may go unnoticed."""
LAKE_DELAY_S: Final = 2.0
"""About how long to wait after the lake failed; well below the broker's keep-alive."""


class IngestWorker:
    """Takes the uploads of some shards from a broker into a lake, until it is stopped.

    The MQTT client id is made of the shards, so that a worker that comes back finds its session.
    """

    def __init__(self, lake: Lake, broker: BrokerAddress, shards: tuple[int, ...]) -> None:
        self._ingest = Ingest(lake)
        self._link = UplinkLink(broker, f"foreshock-ingest-{format_shards(shards)}", shards)
        self._stopping = False
        self._lake_errors = 0

    def stop_on_signals(self) -> None:
        """End in order on SIGTERM and SIGINT: after the answers of the round at hand."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """Let `run` return after the round at hand."""
        self._stopping = True

    def run(self) -> dict[str, int]:
        """Work until stopped; return the counters."""
        while not self._stopping:
            messages = self._collect()
            if messages:
                self._link.answer(self._commit(messages))
        self._link.close()
        return self.counters()

    def counters(self) -> dict[str, int]:
        """Return what has been done so far, by name."""
        return self._ingest.counters.as_dict() | {
            "connects": self._link.connects,
            "lake_errors": self._lake_errors,
        }

    def _collect(self) -> list[Message]:
        messages = self._link.poll(IDLE_S)
        if not messages:
            return []
        now_s = time.monotonic()
        size, end_s, quiet_s = _size(messages), now_s + ROUND_S, now_s + QUIET_S
        while len(messages) < ROUND_MESSAGES and size < ROUND_BYTES:
            now_s = time.monotonic()
            if now_s >= min(end_s, quiet_s):
                break
            more = self._link.poll(min(end_s, quiet_s) - now_s)
            if more:
                messages += more
                size += _size(more)
                quiet_s = time.monotonic() + QUIET_S
        return messages

    def _commit(self, messages: list[Message]) -> list[Answer]:
        try:
            return self._ingest.take(messages)
        except LakeError as error:
            self._lake_errors += 1
            log.warning("gateways must send %s messages again: %s", len(messages), error)
            time.sleep(random.uniform(LAKE_DELAY_S / 2, LAKE_DELAY_S))  # noqa: S311 - jitter
            return []


def _size(messages: list[Message]) -> int:
    return sum(len(message.payload) for message in messages)
