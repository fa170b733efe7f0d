"""A model that fails leaves the limits in charge; a new one takes over between two windows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foreshock_agent.items import SwapModel
from foreshock_agent.judging import scoring
from foreshock_wire.messages import Alarm, AlarmState
from foreshock_wire.messages import Score as ScoreMessage
from foreshock_wire.model import Model, Outputs
from tests.agent.rig import BEGIN_NS, MINUTE_NS, Bench, Ledger, alarming, healthy, sample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

LIMITS = "[limits.temperature]\nhigh = 90"


class Broken(Model):
    """A real model file on a device where running it goes wrong."""

    def __init__(self, model: Model, fault: str) -> None:
        super().__init__(model.spec, model.sha256, model._session)  # noqa: SLF001 - the same graph
        self.fault = fault

    def run(self, windows: npt.NDArray[np.float32], *, explain: bool = False) -> Outputs:
        if self.fault == "throws":
            raise RuntimeError("out of memory")
        outputs = super().run(windows, explain=explain)
        damaged: dict[str, Any] = {
            "nan": {"margin": np.full_like(outputs.margin, np.nan)},
            "infinite": {"margin": np.full_like(outputs.margin, np.inf)},
            "half nan": {
                "probability": np.full_like(outputs.probability, np.nan),
                "novelty": np.full_like(outputs.novelty, np.inf),
                "shapley": np.full_like(outputs.shapley, np.nan),
                "lead_time": np.full_like(outputs.lead_time, np.inf),
                "modes": np.full_like(outputs.modes, np.nan),
            },
        }[self.fault]
        if self.fault == "half nan" and explain:
            damaged["probability"] = outputs.probability
        return replace(outputs, **damaged)


def hot(slot: int) -> bytes:
    return sample(slot, temperature=95.0, pressure=7.0)


@pytest.mark.parametrize("fault", ["throws", "nan", "infinite"])
def test_a_model_without_a_score_leaves_the_limits_in_charge(
    tmp_path: Path, model_bytes: bytes, fault: str
) -> None:
    bench = Bench(tmp_path, Broken(Model.load(model_bytes), fault), extra=LIMITS)
    bench.take(*[hot(slot) for slot in range(10)])
    scores = Ledger.read(bench.settings.database).scores
    assert {model for _, _, model, *_ in scores} == {"rule"}
    alarms = [Alarm.from_bytes(one.payload) for one in bench.published if one.retain]
    assert [(one.source, one.state) for one in alarms] == [("rule", AlarmState.UNACKNOWLEDGED)]
    assert bench.scorer.faults == (len(scores) if fault == "throws" else 0)
    bench.close()


def test_figures_that_are_no_numbers_stop_neither_the_alarm_nor_the_agent(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, Broken(model, "half nan"))
    bench.take(*alarming(model))
    (alarm,) = (Alarm.from_bytes(one.payload) for one in bench.published if one.retain)
    assert alarm.source == "model"
    assert alarm.probability is None
    assert alarm.reasons == ()
    scores = [ScoreMessage.from_bytes(one.payload) for one in bench.published if not one.retain]
    assert {(one.probability, one.novelty, one.model) for one in scores} == {
        (None, None, model.sha256)
    }
    bench.close()
    bench = Bench(tmp_path, model)  # what was saved can be read again
    assert bench.pipeline.machines == 1
    bench.close()


def test_with_neither_model_nor_limits_nothing_is_said_and_nothing_cleared(
    tmp_path: Path, model_bytes: bytes
) -> None:
    model = Model.load(model_bytes)
    bench = Bench(tmp_path, model)
    bench.take(*alarming(model))
    by_model = len(Ledger.read(bench.settings.database).scores)
    bench.close()
    bench = Bench(tmp_path)
    bench.take(*[healthy(1, slot) for slot in range(10, 40)])
    scores = Ledger.read(bench.settings.database).scores[by_model:]
    assert len(scores) > 10
    assert all(margin is None for *_, margin, _, _ in scores)
    head, _ = bench.store.alarms()["pump-1"]
    assert '"unacknowledged"' in head
    bench.close()


def test_a_swap_skips_no_window_and_scores_none_twice(
    tmp_path: Path, model_bytes: bytes, other_model_bytes: bytes
) -> None:
    first, second = Model.load(model_bytes), Model.load(other_model_bytes)
    bench = Bench(tmp_path / "swapped", first)
    request = SwapModel(second)
    messages = [bench.delivery(healthy(1, slot), "pump-1") for slot in range(40)]
    bench.step(*messages[:21], request, *messages[21:])
    bench.commit()
    assert request.done.is_set()
    swapped = Ledger.read(bench.settings.database).scores
    bench.close()

    bench = Bench(tmp_path / "first", first)
    bench.take(*[healthy(1, slot) for slot in range(40)])
    whole = Ledger.read(bench.settings.database).scores
    bench.close()
    assert [score[:2] for score in swapped] == [score[:2] for score in whole]
    at = BEGIN_NS + 20 * MINUTE_NS
    models = [(end <= at, model) for _, end, model, *_ in swapped]
    assert set(models) == {(True, first.sha256), (False, second.sha256)}
    kept = [score for score in swapped if score[1] <= at]
    assert kept == whole[: len(kept)]


def test_a_model_of_another_shape_begins_with_what_the_store_holds(
    tmp_path: Path, model_bytes: bytes
) -> None:
    bench = Bench(tmp_path, extra=LIMITS)
    bench.take(*[healthy(1, slot) for slot in range(30)])
    model = Model.load(model_bytes)
    longer = Model(replace(model.spec, stride=1), model.sha256, model._session)  # noqa: SLF001
    bench.step(SwapModel(longer))
    before = len(Ledger.read(bench.settings.database).scores)
    bench.take(*[healthy(1, slot) for slot in range(30, 34)])
    scores = Ledger.read(bench.settings.database).scores[before:]
    ends = [(end - BEGIN_NS) // MINUTE_NS for _, end, *_ in scores]
    assert ends == [30, 31, 32, 33]
    assert all(math.isfinite(margin) for *_, margin, _, _ in scores)
    bench.close()


def test_a_swap_that_its_asker_gave_up_never_happens(tmp_path: Path, model_bytes: bytes) -> None:
    bench = Bench(tmp_path)
    request = SwapModel(Model.load(model_bytes))
    assert request.claim()
    bench.step(request)
    assert bench.scorer.model is None
    assert not request.done.is_set()
    bench.close()


def test_many_windows_at_once_score_as_one_by_one(
    tmp_path: Path, model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(model_bytes)
    messages = [healthy(1, slot) for slot in range(40)]
    one_by_one = Bench(tmp_path / "single", model)
    one_by_one.take(*messages)
    monkeypatch.setattr(scoring, "AT_ONCE", 3)
    at_once = Bench(tmp_path / "many", model)
    at_once.step(*[at_once.delivery(message, "pump-1") for message in messages])
    at_once.commit()
    found = [Ledger.read(bench.settings.database).scores for bench in (one_by_one, at_once)]
    assert found[0] == found[1]
    assert len(found[0]) > 10
    one_by_one.close()
    at_once.close()
