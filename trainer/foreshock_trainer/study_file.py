"""The SQLite file of a tuning's studies: of one question, and for one tuning at a time."""

from __future__ import annotations

import fcntl
import logging
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from pathlib import Path

ASKED: Final = "asked"
"""What a study remembers beside its trials: the question."""


class TuneError(ForeshockError):
    """A tuning that cannot go on."""


def hold(path: Path) -> IO[bytes]:
    """Keep other tunings away from a file of studies, until the returned lock is closed.

    A killed tuning lets go by dying.

    Raises:
        TuneError: another one runs on it, or its folder cannot be written.
    """
    # Not the file itself: closing a descriptor of it would drop SQLite's own locks.
    beside = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = beside.open("wb")
    except OSError as error:
        raise TuneError(f"{beside}: {error.strerror}; give another --study") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise TuneError(
            f"another tuning runs on {path}: wait for its end, or give this one its own --study"
        ) from None
    return lock


@dataclass(frozen=True, slots=True)
class StudyFile:
    """Studies by name; `asked` is their question in words: a file of another one is refused.

    Only who holds the file (`hold`) may open a study of it.
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
