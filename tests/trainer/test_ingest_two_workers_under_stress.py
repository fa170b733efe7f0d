"""Two workers, kills, a hand-over, a disk that fails, links that double and re-order: exact.

A disk fails for real: the operating system forbids the worker to write (RLIMIT_FSIZE) for a while.
"""

from __future__ import annotations

import hashlib
import queue
import random
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foreshock_trainer.audit import audit
from foreshock_trainer.lake import Lake
from foreshock_wire.batch import Readings
from foreshock_wire.ids import SHARDS, shard_of
from foreshock_wire.messages import UpAck
from foreshock_wire.topics import Down, Gateway, Stream, down, uplink
from tests.trainer.test_ingest_survives_kill import Sender, Worker, acks, alarms, broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paho.mqtt.client as mqtt

    from foreshock.brokers import MosquittoBroker

__all__ = ["acks", "broker"]  # fixtures

SEED = 20_240_207
GATEWAYS = 6
PARCELS, ROWS = 16, 200
ALARMS = 4
KILLS, FAILURES = 3, 2
FAILED = "gateways must send"
"""What a worker's log says of a commit that failed."""
MOST_BYTES = 4096
"""Enough for a line in the worker's log, too little for a commit."""
DEADLINE_S = 100
HALF = SHARDS // 2
COLUMNS = ("epoch", "seq", "machine", "channel", "time_ns", "value", "flags")


def gateways() -> list[Gateway]:
    """Half of them in the shards of each worker."""
    names = [f"gw-{n}" for n in range(100)]
    low = [name for name in names if shard_of(name) < HALF]
    high = [name for name in names if shard_of(name) >= HALF]
    return [Gateway("works", name) for name in (*low[: GATEWAYS // 2], *high[: GATEWAYS // 2])]


def batch(at: Gateway, epoch: str, first: int) -> Readings:
    """Readings that depend on nothing but the gateway, the epoch and the seq."""
    seed = int.from_bytes(hashlib.sha256(f"{at.gateway}/{epoch}/{first}".encode()).digest()[:8])
    chance = np.random.default_rng(seed)
    return Readings(
        epoch=epoch,
        first_seq=first,
        machines=[f"{at.gateway}-pump-{n}" for n in range(3)],
        channels=["temperature", "pressure"],
        machine=chance.integers(0, 3, ROWS).astype(np.uint16),
        channel=chance.integers(0, 2, ROWS).astype(np.uint16),
        time_ns=chance.integers(0, 10**18, ROWS),
        received_ns=chance.integers(0, 10**18, ROWS),
        value=chance.standard_normal(ROWS).astype(np.float32),
        flags=chance.integers(0, 4, ROWS).astype(np.uint8),
    )


def batches(at: Gateway) -> list[Readings]:
    return [batch(at, epoch, i * ROWS + 1) for epoch in ("zz9", "aa1") for i in range(PARCELS // 2)]


def parcels(at: Gateway) -> list[tuple[str, int, bytes]]:
    return [(b.epoch, b.last_seq, b.to_bytes()) for b in batches(at)]


def digest(rows: Iterator[tuple[object, ...]]) -> str:
    """A checksum over every row, in the order of epoch and seq."""
    total = hashlib.sha256()
    for row in rows:
        total.update(repr(row).encode())
    return total.hexdigest()


def sent_digest(at: Gateway) -> str:
    return digest(
        (
            *(one.epoch, one.first_seq + i),
            *(one.machines[one.machine[i]], one.channels[one.channel[i]]),
            *(int(one.time_ns[i]), float(one.value[i]), int(one.flags[i])),
        )
        for one in sorted(batches(at), key=lambda b: (b.epoch, b.first_seq))
        for i in range(len(one))
    )


@dataclass
class Fleet:
    """The workers of a lake: the first owns the lower half of the shards, the second the upper."""

    address: str
    root: Path
    chance: random.Random
    workers: list[Worker] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    failing: int | None = None
    """The worker whose disk fails now, and `failed` what had failed before."""
    failed: int = 0

    def start(self, shards: str) -> None:
        log = self.root / f"worker-{len(self.workers)}.log"
        options = ("--shards", shards, "--upkeep-s", "0.7")
        self.workers.append(Worker(self.address, self.root / "lake", log, *options))

    def kill_one(self) -> None:
        worker = self.chance.choice(self.workers)
        worker.kill()
        worker.start()
        self.done["kills"] += 1

    def fail_one(self) -> None:
        """Let no file of a worker grow large until a commit of it has failed."""
        self.failing, self.failed = self.chance.choice(self.workers).process.pid, self.told()
        limit_files(self.failing, MOST_BYTES)
        self.done["failures"] += 1

    def told(self) -> int:
        """Return how many commits have failed, by the workers' logs."""
        return sum(path.read_text().count(FAILED) for path in self.root.glob("worker-*.log"))

    def heal(self, *, at_once: bool = False) -> None:
        if self.failing is not None and (at_once or self.told() > self.failed):
            limit_files(self.failing, resource.RLIM_INFINITY)
            self.failing = None

    def hand_over(self) -> None:
        """Give the lower half, in two parts, to two workers that were not there before."""
        leaving = self.workers.pop(0)
        leaving.process.send_signal(signal.SIGTERM)
        leaving.process.communicate(timeout=30)
        # One that was still starting has nothing to end in order.
        assert leaving.process.returncode in {0, -signal.SIGTERM}
        leaving.close()
        self.start(f"0-{HALF // 2 - 1}")
        self.start(f"{HALF // 2}-{HALF - 1}")
        self.done["hand-overs"] += 1

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def limit_files(pid: int, most: int) -> None:
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


@pytest.mark.needs("mosquitto")
@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_counts_and_checksums_are_exact(
    broker: MosquittoBroker,
    acks: tuple[mqtt.Client, queue.Queue[tuple[str, bytes]]],
    tmp_path: Path,
) -> None:
    client, heard = acks
    chance = random.Random(SEED)  # noqa: S311 - repeatable, no secret
    senders = {
        (at, stream): Sender(at, stream, sent, chance)
        for at in gateways()
        for stream, sent in (
            (Stream.READINGS, parcels(at)),
            (Stream.ALARMS, alarms(ALARMS)),
        )
    }
    fleet = Fleet(broker.address, tmp_path, chance)
    fleet.start(f"0-{HALF - 1}")
    fleet.start(f"{HALF}-{SHARDS - 1}")
    try:
        until_all_acknowledged(client, heard, senders, fleet)
        failed = fleet.told()
    finally:
        fleet.close()
    assert fleet.done == {"kills": KILLS, "failures": FAILURES, "hand-overs": 1}
    assert failed, "no commit ever failed"
    mixed = sum((sender.mixed for sender in senders.values()), Counter())
    assert all(mixed[kind] for kind in ("twice", "old", "early", "refused"))
    check(tmp_path / "lake")


def until_all_acknowledged(
    client: mqtt.Client,
    heard: queue.Queue[tuple[str, bytes]],
    senders: dict[tuple[Gateway, Stream], Sender],
    fleet: Fleet,
) -> None:
    """Send until all is acknowledged, with trouble after every few answers."""
    troubles = [fleet.kill_one] * KILLS + [fleet.fail_one] * FAILURES
    fleet.chance.shuffle(troubles)
    troubles.insert(len(troubles) // 2, fleet.hand_over)
    of_topic = {down(at, Down.ACK): at for at, _ in senders}
    deadline_s = time.monotonic() + DEADLINE_S
    answers, after = 0, fleet.chance.randint(3, 8)
    while not all(sender.finished for sender in senders.values()):
        assert time.monotonic() < deadline_s, {k: s.done for k, s in senders.items()}
        fleet.heal()
        for sender in senders.values():
            for payload in sender.due():
                client.publish(uplink(sender.at, sender.stream), payload, qos=1)
        try:
            topic, payload = heard.get(timeout=0.01)
        except queue.Empty:
            continue
        ack = UpAck.from_bytes(payload)
        answers += senders[of_topic[topic], Stream(ack.stream)].hear(ack)
        if troubles and answers >= after and fleet.failing is None:
            answers, after = 0, fleet.chance.randint(3, 8)
            troubles.pop()()
    fleet.heal(at_once=True)
    assert not troubles


def check(root: Path) -> None:
    lake = Lake(root)
    accounts = audit(lake)
    assert all(account.whole for account in accounts)
    counts = Counter({account.stream: 0 for account in accounts})
    for account in accounts:
        counts[account.stream] += account.rows
    assert counts == {"readings": GATEWAYS * PARCELS * ROWS, "alarms": GATEWAYS * ALARMS}
    assert not len(lake.quarantine())
    rows = lake.readings(columns=("gateway", *COLUMNS)).to_pylist()
    for at in gateways():
        mine = sorted(
            (row for row in rows if row["gateway"] == at.gateway),
            key=lambda row: (row["epoch"], row["seq"]),
        )
        found = digest(tuple(row[name] for name in COLUMNS) for row in mine)
        assert found == sent_digest(at), at
