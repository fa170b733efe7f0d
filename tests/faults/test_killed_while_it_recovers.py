"""A kill inside a recovery: the next start finishes it, and nothing more is lost, or told twice."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.faults.damage import Tally, Trial, anywhere, fill, without_a_beginning
from tests.faults.dying import Dying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = range(1, 400)
"""So often, about, a recovery looks at the disk."""

MOVING = range(10, 60)
"""Among these it puts the database aside."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("damage", "calls"), [(anywhere, ALL), (without_a_beginning, MOVING)], ids=["long", "early"]
)
def test_killed_while_it_recovers_it_loses_and_tells_what_it_had_to(
    tmp_path: Path,
    faults: int,
    seed: int,
    say: Callable[[str], None],
    *,
    damage: Callable[[Path, random.Random], str],
    calls: range,
) -> None:
    filled = fill(tmp_path)
    kills = number = 0
    with Dying() as dying:
        while kills < faults:
            number += 1
            calm, harried = (
                Trial(filled, tmp_path / name, random.Random(f"{seed} {number}"), damage)  # noqa: S311
                for name in ("calm", "harried")
            )
            calm.run()
            if calm.put_aside:
                dice = random.Random(number)  # noqa: S311 - a test's dice
                at = dice.choices(calls, k=dice.randrange(1, 4))
                kills += sum(dying.recover(harried.folder, call) for call in at)
                try:
                    check(harried, calm)
                except BaseException as error:
                    error.add_note(f"trial {number} of seed {seed}: {calm.how}; killed at {at}")
                    raise
            shutil.rmtree(calm.folder)
            shutil.rmtree(harried.folder)
    say(f"{kills} kills in recoveries: nothing more lost than without, nothing salvaged twice")


def check(harried: Trial, calm: Trial) -> None:
    """Finish what was killed, and hold it against the same recovery that nobody killed."""
    harried.run()
    harried.check(Tally())
    assert harried.put_aside == calm.put_aside
    assert harried.lost == calm.lost
