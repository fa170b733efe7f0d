"""The SQLite file of a tuning's studies: of one question, and for one tuning at a time."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from foreshock_wire.errors import ForeshockError
from foreshock_wire.files import hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ASKED: Final = "asked"
"""What a study remembers beside its trials: the question."""


class TuneError(ForeshockError):
    """A tuning that cannot go on."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other tunings away from a file of studies.

    Raises:
        TuneError: another one runs on it, or its folder cannot be written.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        lock = hold(beside, wait=False)
    except BlockingIOError:
        raise TuneError(
            f"another tuning runs on {path}: wait for its end, or give this one its own --study"
        ) from None
    except OSError as error:
        raise TuneError(f"{beside}: {error.strerror}; give another --study") from None
    with lock:
        yield


@dataclass(frozen=True, slots=True)
class StudyFile:
    """Studies by name; `asked` is their question in words: a file of another one is refused.

    Only who holds the file (`held`) may open a study of it.
    """

    path: Path
    asked: str

    def study(self, name: str) -> optuna.Study:
        """Open or begin a study; a trial that nobody ended counts as failed.

        Raises:
            TuneError: the file holds something else, or studies of another question.
        """
        study = self._opened(name)
        if study.user_attrs.setdefault(ASKED, self.asked) != self.asked:
            raise TuneError(
                f"{self.path} holds a tuning of another lake, window or question: give "
                "another --study, or remove the file"
            )
        study.set_user_attr(ASKED, self.asked)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # whoever ran it was killed
        return study

    def _opened(self, name: str) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            return optuna.create_study(
                storage=f"sqlite:///{self.path}",
                study_name=name,
                direction="maximize",
                load_if_exists=True,
            )
        except (SQLAlchemyError, RuntimeError, optuna.exceptions.OptunaError) as error:
            raise TuneError(
                f"{self.path} cannot be opened as a file of studies "
                f"({type(error).__name__}): give another --study"
            ) from None
