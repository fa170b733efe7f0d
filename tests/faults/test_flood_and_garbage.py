"""A machine at a hundred times its rate, and one that sends garbage: the others notice nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from foreshock_wire.model import Model
from tests.agent.rig import BEGIN_NS, Client, healthy
from tests.faults.lab import Lab, check_arrived, uninterrupted

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.machines import Message

pytestmark = pytest.mark.needs("mosquitto")

FLOOD: Final = 20_000
GARBAGE: Final = 3_000
KEPT: Final = 1_000
MIB: Final = 1 << 20
BOUND_MIB: Final = 300

OVERSIZE: Final = b'{"t": 1, "temperature": ' + b"9" * 300_000 + b"}"
JUNK: Final[dict[str, tuple[str, list[bytes]]]] = {
    "malformed": (
        "junk/pump-1/sample",
        [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 5_000, b'{"t": 1}', b'"t"'],
    ),
    "bad_time": (
        "junk/pump-1/sample",
        [b'{"t": "now", "temperature": 1}', b'{"t": NaN, "temperature": 1}', b'{"t": -5, "x": 1}'],
    ),
    "not_a_number": (
        "junk/pump-1/sample",
        [b'{"t": 1, "temperature": NaN}', b'{"t": 1, "temperature": "hot"}', b'{"t": 1, "x": {}}'],
    ),
    "out_of_range": ("junk/pump-1/sample", [b'{"t": 1, "temperature": 1e39}']),
    "invalid_id": ("junk/PUMP 1/sample", [b'{"t": 1, "temperature": 1}']),
    "oversize": ("junk/pump-1/sample", [OVERSIZE]),
}
"""What a broken gateway sends, by the reason that each message is to be rejected for."""


@pytest.mark.timeout(3600)
def test_a_flood_beside_others_costs_them_nothing_and_memory_is_bounded(
    lab: Lab, say: Callable[[str], None]
) -> None:
    with lab:
        lab.load()
        idle = lab.agent.memory_bytes
        flood = [("plant/flood/sample", healthy(9, slot)) for slot in range(FLOOD)]
        with Client(lab.local.port) as client:
            peak = max(published(lab, client, flood))
        lab.tally.done["message of a flood"] += FLOOD
        lab.load()
        say(f"{FLOOD} messages at once: {idle / MIB:.0f} MiB before, {peak / MIB:.0f} MiB at most")
        assert peak < BOUND_MIB * MIB
        check_all(lab, flood)


def published(lab: Lab, client: Client, messages: list[Message]) -> list[int]:
    """Publish as fast as the broker takes it; return the agent's memory now and then."""
    memory = []
    for start in range(0, len(messages), 500):
        client.publish_all(messages[start : start + 500])
        memory.append(lab.agent.memory_bytes)
    return memory


@pytest.mark.timeout(3600)
def test_garbage_beside_others_is_counted_by_reason_and_kept_in_bounds(lab: Lab) -> None:
    with lab:
        lab.load()
        garbage = [junk(lab.dice) for _ in range(GARBAGE)]
        with Client(lab.local.port) as client:
            client.publish_all(message for _, message in garbage)
        lab.tally.done["message of garbage"] += GARBAGE
        lab.load()
        check_all(lab)
        sent = Counter(reason for reason, _ in garbage)
        accounts = lab.agent.ledger.accounts
        assert {reason: accounts[f"messages.rejected.{reason}"] for reason in sent} == sent
        check_letters(status(lab), sent)


def junk(dice: random.Random) -> tuple[str, Message]:
    """Return a message that is rejected, and the reason; one of a hundred is oversize."""
    reasons = [one for one in JUNK if one != "oversize" or dice.random() < 0.06]
    reason = dice.choice(reasons)
    topic, payloads = JUNK[reason]
    payload = dice.choice(payloads)
    if payload == b"\xff\xfe\x00":
        payload = b"\xff" + dice.randbytes(dice.randrange(200))
    return reason, (topic, payload)


def check_all(lab: Lab, others: list[Message] | None = None) -> None:
    """Let all arrive; hold readings and scores against a run that nobody disturbed."""
    others = others or []
    lab.drain()
    check_arrived(lab, others)
    calm = uninterrupted(lab.folder / "calm", lab.model, [*lab.plant.sent, *others])
    lab.tally.scores = lab.check_scores({Model.load(lab.model).sha256: calm})


def status(lab: Lab) -> dict[str, Any]:
    """Return what `foreshock agent status` says."""
    command = [sys.executable, "-m", "foreshock", "agent", "status", "--json", "--config"]
    done = subprocess.run(
        [*command, str(lab.agent.config)], capture_output=True, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def check_letters(report: dict[str, Any], sent: Counter[str]) -> None:
    """Every reason that is kept was sent, and the newest messages are kept, no more."""
    letters = report["dead_letters"]
    assert sum(one["kept"] for one in letters) == KEPT
    assert {one["reason"] for one in letters} <= set(sent)
    assert {"malformed", "bad_time", "invalid_id"} <= {one["reason"] for one in letters}
    assert all(one["newest_ns"] > BEGIN_NS and one["topic"] for one in letters)
