from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.items import SessionBegan
from foreshock_wire import topics
from foreshock_wire.model import Model
from tests.agent.rig import AT, Bench, healthy

if TYPE_CHECKING:
    from pathlib import Path


def test_what_the_broker_kept_is_told_at_once_and_the_rest_by_the_interval(
    tmp_path: Path, model_bytes: bytes
) -> None:
    bench = Bench(tmp_path, Model.load(model_bytes))
    bench.take(*(healthy(1, slot) for slot in range(8)))
    bench.published.clear()
    bench.step(SessionBegan(session_present=True))
    assert bench.published == []
    bench.step(bench.delivery(healthy(1, 9), "pump-1"))
    assert [one.topic for one in bench.published] == [topics.score(AT, "pump-1")]
    assert len(bench.acked) == 9
    bench.step(bench.delivery(healthy(1, 10), "pump-1"))
    assert len(bench.published) == 1
    bench.commit()
    assert (len(bench.published), len(bench.acked)) == (2, 10)
    bench.close()
