"""One rollout over a simulated fleet on a real broker, with kills; what is measured and checked."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from benchmarks.fleet_gateways import CHANNELS_FILE, gateway, kind
from foreshock.brokers import MosquittoBroker
from foreshock_agent.update.store import ModelStore
from foreshock_converter.sample import CHANNELS, tiny_model
from foreshock_fleet.coordinator import repository_of
from foreshock_fleet.events import RolloutState
from foreshock_fleet.keys import KeyFolder
from foreshock_fleet.plan import Plan
from foreshock_fleet.signed import SignedRepository
from foreshock_fleet.state import Release, now_ns, open_state

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable

    from foreshock_fleet.state import Rollout

WORKERS: Final = 2
WAIT_S: Final = 1500.0
PLAN: Final = Plan(
    waves=(0.05, 0.25, 1.0),
    min_executed=0.7,
    min_success=0.7,
    select={"site": "works"},
)
COORDINATOR_KILLS, BROKER_KILLS = 3, 2


@dataclass
class Usage:
    """What the coordinators of one run used, killed ones included."""

    cpu_s: float = 0.0
    max_rss_mib: float = 0.0

    def add(self, used: resource.struct_rusage, peak_kib: int) -> None:
        """Count one process that has ended."""
        self.cpu_s += used.ru_utime + used.ru_stime
        self.max_rss_mib = max(self.max_rss_mib, peak_kib / 1024)


@dataclass
class Run:
    """The processes of one run in one folder; a context manager."""

    folder: Path
    gateways: int
    seed: int
    say: Callable[[str], None]
    used: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        self.broker = MosquittoBroker(self.folder / "broker")
        self.state_dir = self.folder / "fleet"
        self._coordinator: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[str]] = []
        self._chance = random.Random(self.seed)  # noqa: S311 - no secret
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        names = [channel.id for channel in CHANNELS]
        (self.folder / CHANNELS_FILE).write_text(json.dumps(names))
        self.before, self.after = (self._publish(tiny_model(seed=seed)) for seed in (1, 2))
        self._stack.enter_context(self.broker)
        self._stack.callback(self._end)
        self._start_coordinator()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _publish(self, data: bytes) -> str:
        repository = repository_of(self.state_dir)
        signed, keys = SignedRepository(repository), KeyFolder(self.state_dir / "keys")
        if not signed.exists:
            root_keys = KeyFolder(self.state_dir / "root-keys")
            signed.create(root_keys, keys, count=1, threshold=1, now=datetime.now(UTC))
            (self.state_dir / "root.json").write_bytes(signed.root_bytes())
        sha256 = repository.add(data)
        signed.add_target(sha256, len(data), {}, keys, datetime.now(UTC))
        with contextlib.closing(open_state(self.state_dir)) as state:
            path = repository.path(sha256).name
            state.add_release(
                Release(sha256, len(data), 262_144, "m", "1", path, now_ns()), "bench"
            )
        return sha256

    # Processes ----------------------------------------------------------------------------------

    def _start_coordinator(self) -> None:
        command = [sys.executable, "-m", "foreshock", "fleet", "serve", "--json"]
        where = ["--broker", self.broker.address, "--state", str(self.state_dir)]
        self._coordinator = subprocess.Popen(
            [*command, *where], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._coordinator.stdout is not None  # noqa: S101 - it is a pipe
        # Who is silent speaks once: somebody has to listen by then.
        self._coordinator.stdout.readline()

    def _kill_coordinator(self) -> None:
        if self._coordinator is not None:
            # What wait4 says of memory begins before exec: it is this process's own.
            peak_kib = _peak_kib(self._coordinator.pid)
            self._coordinator.kill()
            if self._coordinator.stdout is not None:
                self._coordinator.stdout.close()
            _, code, used = os.wait4(self._coordinator.pid, 0)
            self._coordinator.returncode = code
            self.used.add(used, peak_kib)
            self._coordinator = None

    def start_gateways(self) -> None:
        """Give every gateway the old model, and start them all."""
        data = repository_of(self.state_dir).path(self.before).read_bytes()
        for number in range(self.gateways):
            home = self.folder / "gateways" / gateway(number).gateway
            ModelStore(home / "models").install(data)
        each = -(-self.gateways // WORKERS)
        for first in range(0, self.gateways, each):
            count = min(each, self.gateways - first)
            where = [self.broker.host, str(self.broker.port), str(self.folder)]
            self._workers.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "benchmarks.fleet_gateways"),
                        *(*where, str(first), str(count)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        self._wait(lambda: self._known() == self.gateways, "every gateway is known")

    def stop_gateways(self) -> Counter[str]:
        """End them; return how many messages went up and down."""
        total: Counter[str] = Counter()
        for worker in self._workers:
            out, _ = worker.communicate(timeout=120)
            total.update(json.loads(out.splitlines()[-1]))
        self._workers = []
        return total

    def wake_silent(self) -> None:
        """Let the silent gateways hear and speak."""
        for worker in self._workers:
            assert worker.stdin is not None  # noqa: S101 - it is a pipe
            worker.stdin.write("wake\n")
            worker.stdin.flush()

    def _end(self) -> None:
        self._kill_coordinator()
        for worker in self._workers:
            worker.kill()
            worker.communicate()

    # The rollout --------------------------------------------------------------------------------

    def roll_out(self) -> float:
        """Roll the new model out, killing on the way; return the seconds until all have ended."""
        self.used = Usage()
        began = time.monotonic()
        with contextlib.closing(open_state(self.state_dir)) as state:
            state.start_rollout(self.after, "bench", now_ns(), PLAN)
        for share, kill in sorted(self._kills(), key=lambda one: one[0]):
            self._wait_for_commits(round(share * self._expected("plain")))
            kill()
        everybody = self._expected("plain", "slow", "failing")
        self._wait(lambda: self._ended() >= everybody, "everybody who is not silent has ended")
        return time.monotonic() - began

    def _wait_for_commits(self, wanted: int) -> None:
        self._wait(lambda: self._committed() >= wanted, f"{wanted} gateways have committed")

    def finish(self) -> Rollout:
        """Wake who is silent, and return the rollout when it is over."""
        self.wake_silent()
        over = RolloutState.INCOMPLETE
        self._wait(lambda: self._rollout().state is over, "the rollout is over")
        self._kill_coordinator()
        return self._rollout()

    def _kills(self) -> list[tuple[float, Callable[[], None]]]:
        restart = [self._restart_coordinator] * COORDINATOR_KILLS + [
            self._restart_broker
        ] * BROKER_KILLS
        return [(self._chance.uniform(0.0, 0.9), one) for one in restart]

    def _restart_coordinator(self) -> None:
        self.say("the coordinator is killed")
        self._kill_coordinator()
        self._start_coordinator()

    def _restart_broker(self) -> None:
        self.say("the broker is killed")
        self.broker.kill()
        self.broker.start()

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            if self._went_wrong():
                raise RuntimeError(f"the rollout ended in another way: {self._rollout()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {WAIT_S:g} s: {what}; {self._rollout().verdict}")
            time.sleep(1.0)

    def _went_wrong(self) -> bool:
        with contextlib.closing(open_state(self.state_dir)) as state:
            found = state.rollout()
        return found is not None and found.state not in {"active", "incomplete"}

    # What is seen -------------------------------------------------------------------------------

    def _known(self) -> int:
        with contextlib.closing(open_state(self.state_dir)) as state:
            return len(state.devices())

    def _rollout(self) -> Rollout:
        with contextlib.closing(open_state(self.state_dir)) as state:
            return state.need_rollout()

    def _committed(self) -> int:
        return len(self._rollout().verdict.committed)

    def _ended(self) -> int:
        verdict = self._rollout().verdict
        return len(verdict.committed) + len(verdict.failed)

    def _expected(self, *kinds: str) -> int:
        return sum(kind(number) in kinds for number in range(self.gateways))

    def wrong_devices(self) -> int:
        """Count the gateways whose disk does not hold the model that it should."""
        wrong = 0
        for number in range(self.gateways):
            home = self.folder / "gateways" / gateway(number).gateway
            stays = kind(number) in {"spare", "failing"}
            wanted = self.before if stays else self.after
            wrong += ModelStore(home / "models").current_sha256 != wanted
        return wrong

    def audit_faults(self) -> list[str]:
        """Say what is missing in the audit trail, or stands in it twice."""
        with contextlib.closing(open_state(self.state_dir)) as state:
            entries = state.audit(limit=10**7)
        ends = Counter(
            (entry.actor, entry.detail["state"])
            for entry in entries
            if entry.action == "directive changed" and entry.detail["state"] in _ENDS
        )
        wanted = {
            (f"works/gw-{n}", "rejected" if kind(n) == "failing" else "committed")
            for n in range(self.gateways)
            if kind(n) != "spare"
        }
        faults = [f"{one}: {count} times" for one, count in ends.items() if count != 1]
        faults += [f"missing: {one}" for one in wanted - set(ends)]
        faults += [f"never asked for: {one}" for one in set(ends) - wanted]
        steps = Counter(entry.action for entry in entries)
        passed = steps["rollout: wave passed"]
        return faults + ([f"{passed} waves passed"] if passed != len(PLAN.waves) - 1 else [])


_ENDS: Final = {"committed", "rejected", "rolled_back"}


def _peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure(folder: Path, gateways: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Roll a model out to so many gateways; return the figures."""
    with Run(folder, gateways, seed, say) as run:
        say(f"{gateways} gateways start")
        run.start_gateways()
        say("the rollout begins")
        seconds = run.roll_out()
        say(f"everybody who speaks has ended after {seconds:.0f} s; the silent ones wake")
        ended = run.finish()
        messages = run.stop_gateways()
        return {
            "gateways": gateways,
            "state": str(ended.state),
            "committed": len(ended.verdict.committed),
            "failed": len(ended.verdict.failed),
            "wrong_devices": run.wrong_devices(),
            "audit_faults": run.audit_faults(),
            "seconds": round(seconds, 1),
            "cpu_s": round(run.used.cpu_s, 1),
            "max_rss_mib": round(run.used.max_rss_mib, 1),
            "messages_up_per_device": round(messages["up"] / gateways, 1),
            "messages_down_per_device": round(messages["down"] / gateways, 1),
        }
