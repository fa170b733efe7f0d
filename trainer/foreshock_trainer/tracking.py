"""MLflow as the record of runs and the registry of models: SQLite and plain files in one folder.

Layout: `DIR/mlflow.db`, and artifacts under `DIR/artifacts`. A model version's source is a folder
`file://DIR/artifacts/{run}/artifacts/model` that holds one model file, `model.onnx`, and MLflow's
signature of it. The aliases are `champion` (what the fleet runs) and `challenger` (what passed the
gate last). Nothing is pickled.

Importing MLflow takes seconds: `Tracking.opening` does it in a thread while the training runs.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlparse
from urllib.request import url2pathname

from foreshock_wire.errors import ForeshockError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking.client import MlflowClient

DATABASE: Final = "mlflow.db"
ARTIFACTS: Final = "artifacts"
MODEL_FOLDER: Final = "model"
MODEL_FILE: Final = "model.onnx"
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
_SCHEME: Final = "models:/"


class TrackingError(ForeshockError):
    """The tracking folder or a model in its registry is not there, or not as it must be."""


@dataclass(frozen=True, slots=True)
class Version:
    """A registered model version."""

    name: str
    number: int
    run: str
    path: Path


class Tracking:
    """One tracking folder, open.

    Args:
        root: the folder.
        create: make it when it is not there; else an absent one is an error.
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self.root = root.resolve()
        if not create and not (self.root / DATABASE).exists():
            raise TrackingError(
                f"{root} holds no {DATABASE}: train a model with `foreshock trainer retrain` first"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        self._client = _client(self.root)

    @classmethod
    @contextmanager
    def opening(cls, root: Path) -> Iterator[Future[Tracking]]:
        """Open (and make) a tracking folder in a thread; leaving the block waits for it."""
        with ThreadPoolExecutor(1, thread_name_prefix="tracking") as pool:
            yield pool.submit(cls, root, create=True)

    def record(
        self,
        name: str,
        model: bytes,
        *,
        parameters: Mapping[str, object],
        figures: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, str],
    ) -> str:
        """Record a run with the model as its artifact; return the run's id.

        `files` are further artifacts, name -> text.
        """
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - seconds to import

        now_ms = time.time_ns() // 1_000_000
        run: str = self._client.create_run(self._experiment(name), start_time=now_ms).info.run_id
        self._client.log_batch(
            run,
            metrics=[Metric(key, value, now_ms, 0) for key, value in figures.items()],
            params=[Param(key, str(value)) for key, value in parameters.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MODEL_FILE).write_bytes(model)
            self._client.log_artifact(run, f"{folder}/{MODEL_FILE}", MODEL_FOLDER)
        self.attach(run, files)
        self._client.set_terminated(run)
        return run

    def draw(self, run: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        """Add curves to a run, name -> points (x, y): a metric whose step is x in thousandths."""
        from mlflow.entities import Metric  # noqa: PLC0415 - seconds to import

        now_ms = time.time_ns() // 1_000_000
        for name, points in curves.items():
            metrics = [Metric(name, y, now_ms, round(x * 1000)) for x, y in points]
            self._client.log_batch(run, metrics=metrics)

    def attach(self, run: str, files: Mapping[str, str]) -> None:
        """Add artifacts to a run, name -> text."""
        for file, text in files.items():
            self._client.log_text(run, text, file)

    def register(self, name: str, run: str, *, tags: Mapping[str, str]) -> Version:
        """Make a model version of a run's model and give it the alias `challenger`."""
        self._registered(name)
        source = f"{self._client.get_run(run).info.artifact_uri}/{MODEL_FOLDER}"
        made = self._client.create_model_version(name, source, run, tags=dict(tags))
        self._client.set_registered_model_alias(name, CHALLENGER, str(made.version))
        return _version(made)

    def describe(self, name: str, number: int, text: str) -> None:
        """Give a version its description."""
        self._client.update_model_version(name, str(number), text)

    def promote(self, name: str, number: int | None = None) -> Version:
        """Give a version, or else the challenger, the alias `champion`.

        Raises:
            TrackingError: there is none, or its file is gone.
        """
        found = self.find(
            f"{_SCHEME}{name}/{number}" if number else f"{_SCHEME}{name}@{CHALLENGER}"
        )
        self._client.set_registered_model_alias(name, CHAMPION, str(found.number))
        return found

    def champion(self, name: str) -> Version | None:
        """Return the champion, or None when there is none yet."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds to import

        try:
            return _version(self._client.get_model_version_by_alias(name, CHAMPION))
        except MlflowException:
            return None

    def find(self, uri: str) -> Version:
        """Return the version that `models:/name@alias` or `models:/name/number` names.

        Raises:
            TrackingError: no such model, or its file is gone.
        """
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds to import

        name, alias, number = parse_model_uri(uri)
        try:
            found = (
                self._client.get_model_version_by_alias(name, alias)
                if alias
                else self._client.get_model_version(name, str(number))
            )
        except MlflowException as error:
            raise TrackingError(f"{uri} is not in the registry of {self.root}: {error}") from None
        version = _version(found)
        if not version.path.is_file():
            raise TrackingError(f"{uri} points to {version.path}, which is gone: register it again")
        return version

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        location = (self.root / ARTIFACTS).as_uri()
        return str(self._client.create_experiment(name, artifact_location=location))

    def _registered(self, name: str) -> None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds to import

        try:
            self._client.get_registered_model(name)
        except MlflowException:
            self._client.create_registered_model(name)


def resolve(uri: str, tracking: Path) -> Path:
    """Return the .onnx file that `models:/name@alias` or `models:/name/number` names.

    Raises:
        TrackingError: no such folder, model or file.
    """
    return Tracking(tracking).find(uri).path


def parse_model_uri(uri: str) -> tuple[str, str, int]:
    """Return (name, alias, 0) or (name, '', number) of a models:/ URI.

    Raises:
        TrackingError: it is neither.
    """
    name, at, alias = uri.removeprefix(_SCHEME).partition("@")
    if uri.startswith(_SCHEME) and at and name and alias and "/" not in name + alias:
        return name, alias, 0
    name, _, number = uri.removeprefix(_SCHEME).rpartition("/")
    if uri.startswith(_SCHEME) and name and "/" not in name and number.isdecimal():
        return name, "", int(number)
    raise TrackingError(
        f"{uri!r} is not models:/NAME@ALIAS or models:/NAME/VERSION, like "
        f"models:/foreshock@{CHALLENGER}"
    )


def _version(found: ModelVersion) -> Version:
    folder = Path(url2pathname(urlparse(str(found.source)).path))
    return Version(str(found.name), int(found.version), str(found.run_id), folder / MODEL_FILE)


def _client(root: Path) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking.client import MlflowClient  # noqa: PLC0415 - seconds to import

    # After the import, which configures logging anew: a new database is no news to a user.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=f"sqlite:///{root / DATABASE}")
