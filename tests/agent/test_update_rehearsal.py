"""A candidate on the gateway's own stored history: it says what the pipeline would have said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.judging.scoring import model_policy
from foreshock_agent.update.rehearsal import Rehearsed, rehearse
from foreshock_agent.update.trial import Limits
from foreshock_rules.alarms import AlarmPolicy
from foreshock_wire.model import Model
from tests.agent.rig import Bench, alarming, healthy, sample

if TYPE_CHECKING:
    from pathlib import Path

IN_2033 = 5_000_000
"""A minute from the future: the pipeline keeps it out of the windows."""


def test_it_finds_the_alarm_that_the_pipeline_raised(tmp_path: Path, model_bytes: bytes) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.take(sample(IN_2033, temperature=50.0, pressure=60.0), *alarming(model))
    bench.take(*(healthy(2, slot) for slot in range(40)), machine="pump-2")
    raised = {one.topic for one in bench.published if "/alarm" in one.topic and one.retain}
    assert raised
    bench.close()
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes)
    mine = model_policy(bench.settings.alarms, model)
    deaf = AlarmPolicy(1000.0, 999.0)
    found = rehearse(bench.settings.database, (path, path), (mine, deaf), Limits(), lambda: False)
    assert found is not None
    assert (found.machines, found.champion, found.candidate) == (2, len(raised), 0)
    same = rehearse(bench.settings.database, (path, path), (mine, mine), Limits(), lambda: False)
    assert same is not None
    assert (same.shared, same.earlier_h) == (same.champion, 0.0)


def test_what_cannot_be_played_decides_nothing(tmp_path: Path, model_bytes: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes)
    policy = AlarmPolicy(0.0, 0.0)
    nothing = tmp_path / "no.db"
    assert rehearse(nothing, (path, path), (policy, policy), Limits(), lambda: False) is None


def test_it_is_told_in_a_sentence() -> None:
    assert Rehearsed(3, 52.4, 4, 2, 2, 9.0).text() == (
        "on 52 h of its own history (3 machines): 2 alarms where the champion has 4 "
        "(2 of both, 9.0 h earlier)"
    )
