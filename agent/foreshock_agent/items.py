"""What the pipeline's thread is handed, each in its turn: messages, and what others want done."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foreshock_agent.mqtt.link import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from foreshock_agent.settings import Settings
    from foreshock_agent.sources import Sources
    from foreshock_agent.store.store import Store
    from foreshock_wire.model import Model
    from foreshock_wire.topics import Stream


@dataclass(frozen=True, slots=True)
class SessionBegan:
    """The local broker accepted us; without its old session, packet ids begin again."""

    session_present: bool


@dataclass(frozen=True, slots=True)
class LakeAcked:
    """The lake holds a stream up to `seq`, as far as we sent it; it `said` how far it has it."""

    epoch: str
    stream: Stream
    seq: int
    said: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changes between two commits; `done` is set when it has.

    Whoever claims it first decides: the pipeline that it happens, or the asker that it shall not.
    """

    done: threading.Event = field(default_factory=threading.Event)
    _claimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Take the decision; return false when it was taken before."""
        return self._claimed.acquire(blocking=False)


@dataclass(frozen=True, slots=True)
class SwapModel(Change):
    """Use this model from the next window on."""

    model: Model


@dataclass(frozen=True, slots=True)
class UseSettings(Change):
    """Go on with these settings, and with these sources made of them."""

    settings: Settings
    sources: Sources


@dataclass(frozen=True, slots=True)
class StoreTask:
    """Something for the store's only writer to do, as part of the next commit."""

    work: Callable[[Store], None]


Item = Delivery | SessionBegan | LakeAcked | SwapModel | UseSettings | StoreTask
