"""What the agent's database says, for a person at the gateway; reads only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from foreshock_agent.clock import SystemClock
from foreshock_agent.intake.dead_letters import dead_letters
from foreshock_agent.reloader import last_outcome
from foreshock_agent.store.accounts import broken_laws, lost
from foreshock_agent.store.database import looking
from foreshock_agent.update.store import ModelStore
from foreshock_agent.uplink.budget import day_report
from foreshock_agent.uplink.outbox import pending_records
from foreshock_wire.topics import Stream

if TYPE_CHECKING:
    from foreshock_agent.reload import Outcome
    from foreshock_agent.settings import Settings


_SCORED = ("machine", "time_ns", "probability")
_NEWEST_SCORES = (
    "SELECT machine, max(time_ns), probability FROM scores GROUP BY machine ORDER BY machine"
)


def read_status(settings: Settings) -> dict[str, Any]:
    """Return accounts, pending records, machines, alarms, and every law that does not hold.

    Raises:
        NoStoreError: the agent has never run with these settings.
        StoreDamagedError: SQLite cannot read its database.
    """
    with looking(settings.database) as db:
        pending = pending_records(db)
        accounts = dict(db.execute("SELECT name, value FROM accounts"))
        machines = db.execute("SELECT count(*) FROM machines").fetchone()[0]
        heads = db.execute("SELECT machine, head FROM alarm_heads ORDER BY machine").fetchall()
        scored = db.execute(_NEWEST_SCORES).fetchall()
        letters = dead_letters(db)
    return {
        "accounts": accounts,
        "lost": lost(accounts),
        "pending": {str(stream): count for stream, count in pending.items()},
        "uplink_day": day_report(
            settings.uplink.bytes_per_day, settings.uplink_spent, SystemClock().now_ns()
        ),
        "machines": machines,
        "model": ModelStore(settings.models).current_sha256,
        "alarms": [_head(machine, head) for machine, head in heads],
        "scored": [dict(zip(_SCORED, row, strict=True)) for row in scored],
        "dead_letters": letters,
        "reload": _reload(last_outcome(settings.last_reload)),
        "broken_laws": broken_laws(accounts, pending[Stream.READINGS]),
    }


def _reload(outcome: Outcome | None) -> dict[str, Any] | None:
    return None if outcome is None else {**outcome.as_dict(), "said": str(outcome)}


def _head(machine: str, text: str) -> dict[str, Any]:
    head = json.loads(text)
    return {"machine": machine, "state": head["state"], "episode": head["episode"]}
