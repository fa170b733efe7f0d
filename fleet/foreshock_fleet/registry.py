"""Where models come from: an `.onnx` file, or an alias in the MLflow registry of a folder.

MLflow is imported only when an alias is asked for.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlparse

from foreshock_fleet.errors import RegistryError

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

MODEL_FILE: Final = "model.onnx"
CHAMPION: Final = "champion"
_REFERENCE: Final = re.compile(r"models:/(?P<name>[^@/]+)(@(?P<alias>[\w-]+)|/(?P<version>\d+))")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model file's bytes, with the registry's name and version where it has them."""

    data: bytes
    name: str = ""
    version: str = ""


def fetch(reference: str, tracking: Path | None) -> Fetched:
    """Read a model by file path, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Raises:
        RegistryError: says what is missing and what to do.
    """
    if not reference.startswith("models:"):
        return Fetched(_read(Path(reference)))
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise RegistryError(
            f"{reference!r} names no model: use models:/NAME@ALIAS, for example "
            "models:/foreshock@challenger, or models:/NAME/VERSION"
        )
    client = open_registry(tracking)
    name, version = found["name"], found["version"] or ""
    if found["alias"]:
        version = _version(client, name, found["alias"])
    return Fetched(_download(client, name, version), name, version)


def promote(name: str, version: str, tracking: Path | None) -> None:
    """Set the alias `champion` to this version.

    Raises:
        RegistryError: the registry does not have it.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

    try:
        open_registry(tracking).set_registered_model_alias(name, CHAMPION, version)
    except MlflowException as error:
        raise RegistryError(f"{name} {version} cannot become {CHAMPION}: {error.message}") from None


def open_registry(tracking: Path | None) -> MlflowClient:
    """Open the MLflow registry in `tracking`/mlflow.db.

    Raises:
        RegistryError: no folder was named, or no registry is in it.
    """
    if tracking is None:
        raise RegistryError("a registered model needs its registry: add --tracking DIR")
    database = tracking.resolve() / "mlflow.db"
    if not database.is_file():
        raise RegistryError(
            f"{database} does not exist: `foreshock trainer retrain --tracking {tracking}` makes it"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from mlflow.tracking.client import MlflowClient  # noqa: PLC0415 - heavy

    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def _version(client: MlflowClient, name: str, alias: str) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        raise RegistryError(
            f"the registry has no models:/{name}@{alias} ({error.message}): did the last "
            "retraining pass its gate?"
        ) from None


def _download(client: MlflowClient, name: str, version: str) -> bytes:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - heavy

    try:
        source = client.get_model_version_download_uri(name, version)
        local = _local_folder(source)
        if local is not None:
            return _read(_model_file(local))
        from mlflow.artifacts import download_artifacts  # noqa: PLC0415 - for remote stores only

        with TemporaryDirectory() as scratch:
            got = download_artifacts(
                artifact_uri=source, dst_path=scratch, tracking_uri=client.tracking_uri
            )
            return _read(_model_file(Path(got)))
    except MlflowException as error:
        raise RegistryError(f"{name} {version} cannot be fetched: {error.message}") from None


def _local_folder(source: str) -> Path | None:
    parsed = urlparse(source)
    if parsed.scheme in {"", "file"}:
        return Path(unquote(parsed.path))
    return None


def _model_file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    found = sorted(folder.rglob(MODEL_FILE))
    if not found:
        raise RegistryError(f"{folder} holds no {MODEL_FILE}: register models with foreshock")
    return found[0]


def _read(path: Path) -> bytes:
    with suppress(IsADirectoryError):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise RegistryError(f"{path} does not exist") from None
        except PermissionError:
            raise RegistryError(f"{path} may not be read by this user") from None
    raise RegistryError(f"{path} is a folder: name the .onnx file in it")
