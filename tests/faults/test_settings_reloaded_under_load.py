"""Settings changed, and spoiled, while readings come in: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import pytest

from foreshock_wire.model import Model
from tests.agent.rig import BEGIN_NS, get, health_port, wait_for
from tests.faults.lab import Lab, check_arrived, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("mosquitto")

MORE = '[[sources]]\ntopic = "more/{machine}/sample"\n'


@pytest.mark.timeout(3600)
def test_reloads_under_load_cost_nothing(lab: Lab, faults: int) -> None:
    with lab:
        lab.disturb(ways(lab), faults)
        lab.drain()
        check_arrived(lab)
        calm = uninterrupted(lab.folder / "calm", lab.model, lab.plant.sent)
        lab.tally.scores = lab.check_scores({Model.load(lab.model).sha256: calm})


def ways(lab: Lab) -> dict[str, Callable[[], object]]:
    """Return how the settings change under the agent."""
    config = lab.agent.config
    before = config.read_text()
    numbers = count(1)

    def reload(text: str, refused: int) -> None:
        config.write_text(text)
        asked_ns = last_ns(lab)
        lab.agent.reload()
        wait_for(lambda: last_ns(lab) > asked_ns, "the reload")
        status, said = get(health_port(lab.watcher), "/healthz")
        assert (status, json.loads(said)["settings_refused"]) == (200, refused)

    def more_sources() -> None:
        reload(before + MORE, refused=0)
        stamp = BEGIN_NS + next(numbers)
        message = json.dumps({"t": stamp, "of": 1}).encode()
        lab.watcher.publish_all([("more/end/sample", message)])
        wait_for(lambda: ("end", "of", stamp) in lab.stored_keys(), "a message of the new source")

    def spoiled() -> None:
        reload(before.replace("stride = 2", "stride = -2"), refused=1)
        lab.load()
        reload(before, refused=0)

    def killed_after() -> None:
        reload(before.replace("messages = 200", "messages = 20"), refused=0)
        lab.restart()
        wait_for(lambda: last_ns(lab) == 0, "the next start")
        config.write_text(before)

    return {
        "a source more": more_sources,
        "as before": lambda: reload(before, refused=0),
        "a bad file": spoiled,
        "another commit, and a kill": killed_after,
    }


def last_ns(lab: Lab) -> int:
    """Return when the agent has last read its settings while it ran; 0 if never."""
    try:
        return int(json.loads(lab.agent.settings.last_reload.read_bytes())["at_ns"])
    except FileNotFoundError:
        return 0
