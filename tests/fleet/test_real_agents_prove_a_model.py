"""The whole way of a model, with nothing in place of anything: centre, broker, agents, machines.

A good model reaches every gateway; one that is worse on live data is stopped in the canary wave and
leaves no gateway behind.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import onnx
import pytest

from foreshock_agent.update.store import ModelStore
from foreshock_converter.sample import CHANNELS, tiny_model
from foreshock_wire.container import sealed
from foreshock_wire.spec import METADATA_KEY
from tests.agent.process import Agent
from tests.agent.rig import MINUTE_NS, Client, healthy, write_settings
from tests.fleet.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from foreshock.brokers import Broker
    from tests.fleet.conftest import Fleet

pytestmark = [pytest.mark.needs("mosquitto"), pytest.mark.timeout(300)]
GATEWAYS: Final = ("gate-1", "gate-2", "gate-3")
BLOCK_S: Final = 360
MINUTES_A_SECOND: Final = 60


def changed(model: bytes, **spec: object) -> bytes:
    """Return the same model in another file, with these entries of its spec."""
    graph = onnx.load_model_from_string(model)
    graph.doc_string = "another file"
    entry = next(one for one in graph.metadata_props if one.key == METADATA_KEY)
    entry.value = json.dumps(json.loads(entry.value) | spec)
    return sealed(graph.SerializeToString())


@pytest.fixture(scope="module")
def champion() -> bytes:
    return tiny_model(CHANNELS[:2], length=8, stride=2, period_s=60.0, seed=1)


class Plant:
    """A machine at each gateway, a minute of it every 1/60 s."""

    def __init__(self, broker: Broker) -> None:
        self._client = Client(broker.port)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        slot = 0
        while not self._ending.wait(1 / MINUTES_A_SECOND):
            slot += 1
            for number, gateway in enumerate(GATEWAYS):
                self._client.publish(f"{gateway}/pump-1/sample", healthy(number, slot))

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._client.__exit__()


@pytest.fixture
def agents(
    fleet: Fleet, broker: Broker, tmp_path: Path, champion: bytes
) -> Iterator[dict[str, Agent]]:
    found = {}
    with ExitStack() as stack:
        for name in GATEWAYS:
            config = write_settings(
                tmp_path / name,
                local_port=broker.port,
                cloud_port=broker.port,
                extra=f'[update]\nroot = "{fleet.folder / "root.json"}"',
            )
            text = config.read_text().replace('gateway = "gate-1"', f'gateway = "{name}"')
            config.write_text(text.replace('topic = "plant/', f'topic = "{name}/'))
            found[name] = Agent(config)
            found[name].install(champion)
            stack.enter_context(found[name])
        plant = Plant(broker)
        stack.callback(plant.close)
        yield found


def assert_no_window_was_left_out(agent: Agent) -> None:
    """Across all swaps: one score every second minute, without a hole."""
    scores = agent.ledger.scores
    ends_ns = [end_ns for _, end_ns, *_ in scores]
    assert {after - before for before, after in pairwise(ends_ns)} == {2 * MINUTE_NS}
    assert len({model for _, _, model, *_ in scores}) > 1


def committed(agents: dict[str, Agent]) -> set[str | None]:
    return {ModelStore(one.settings.models).current_sha256 for one in agents.values()}


def test_a_good_model_reaches_all_and_a_worse_one_leaves_nobody_behind(
    fleet: Fleet, agents: dict[str, Agent], champion: bytes, say: Callable[[str], None]
) -> None:
    fleet.serve()
    wait_until(lambda: sorted(fleet.gateways()) == sorted(GATEWAYS), "every gateway is known")
    good = fleet.publish(changed(champion))
    terms = ("--health", "--block-s", str(BLOCK_S), "--waves", "1,100%")
    said = fleet.on_state(
        *("rollout", "create", "latest", *terms, "--shadow-blocks", "2", "--trial-blocks", "3"),
        *("--wait", "--timeout", "90"),
    )
    assert (said["state"], said["committed"]) == ("complete", list(GATEWAYS))
    assert committed(agents) == {good}

    # Its limit is so low that almost every healthy window is an alarm to it.
    worse = fleet.publish(changed(champion, threshold=1e-6, threshold_margin=-13.8))
    said = fleet.on_state(
        *("rollout", "create", "latest", *terms, "--shadow-blocks", "5", "--trial-blocks", "400"),
        *("--wait", "--timeout", "90"),
        expect=3,
    )
    assert (said["state"], said["wave"]) == ("rolled_back", 1)
    assert "alarms" in said["reason"]
    wait_until(lambda: committed(agents) == {good}, "every gateway runs the model of before")
    told = fleet.gateways()
    wait_until(lambda: {one.model for one in fleet.gateways().values()} == {good}, "reports")
    assert worse not in {one.model for one in told.values()}
    say(f"live health, real agents: {said['reason']}")
    for agent in agents.values():
        assert agent.stop() == 0
        assert agent.ledger.broken == []
        assert_no_window_was_left_out(agent)
