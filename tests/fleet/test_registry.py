"""Publish and promote against a real MLflow registry in a folder."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking.client import MlflowClient

from foreshock_fleet.errors import RegistryError
from foreshock_fleet.registry import fetch
from foreshock_fleet.state import open_state
from foreshock_wire.topics import Gateway
from foreshock_wire.updates import DeviceState, Report
from tests.fleet.conftest import set_up_signing

AT = Gateway("north", "gw-1")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, model_a: bytes) -> Path:
    """A registry with `pump` version 1 as challenger, laid out as the trainer does it."""
    root = tmp_path_factory.mktemp("tracking")
    folder = root / "artifacts" / "run" / "artifacts" / "model"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model_a)
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    client.create_registered_model("pump")
    client.create_model_version("pump", folder.as_uri())
    client.set_registered_model_alias("pump", "challenger", "1")
    return root


def fleet(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "foreshock", "fleet", *arguments, "--json"],
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


# MLflow takes seconds to import, in each of three processes.
@pytest.mark.timeout(300)
def test_a_challenger_is_published_rolled_out_and_promoted(
    registry: Path, tmp_path: Path, model_a: bytes
) -> None:
    set_up_signing(tmp_path)
    state = ["--state", str(tmp_path)]
    tracking = ["--tracking", str(registry)]
    said = fleet("publish", "models:/pump@challenger", *tracking, *state)
    assert (said["name"], said["version"], said["size"]) == ("pump", "1", len(model_a))
    with pytest.raises(RegistryError, match="no models:/pump@champion"):
        fetch("models:/pump@champion", registry)
    with contextlib.closing(open_state(tmp_path)) as held:
        held.note_report(AT, Report(gateway="gw-1"), 1)
        with subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "foreshock",
                    "fleet",
                    "rollout",
                    "create",
                    "models:/pump@challenger",
                ),
                *(*state, *tracking, "--promote", "--timeout", "60", "--json"),
            ],
            stdout=subprocess.PIPE,
        ) as rolling:
            while (rollout := held.rollout()) is None:
                assert rolling.poll() is None
            committed = Report(
                gateway="gw-1",
                state=DeviceState.COMMITTED,
                counter=rollout.standings[0].counter,
                model=said["sha256"],
            )
            held.note_report(AT, committed, 2)
            assert rolling.stdout is not None
            told = json.loads(rolling.stdout.read())
        assert (rolling.returncode, told["state"], told["promoted"]) == (0, "complete", True)
        assert held.audit()[-1].action == "champion promoted"
    assert fetch("models:/pump@champion", registry).data == model_a


@pytest.mark.parametrize(
    ("reference", "tracking", "reason"),
    [
        ("models:/pump@challenger", None, "add --tracking DIR"),
        ("models:/pump@challenger", "nowhere", r"mlflow.db does not exist: .*retrain"),
        ("models:pump", None, "names no model"),
        ("models:/pump", None, "names no model"),
        ("nowhere.onnx", None, "does not exist"),
        (".", None, "is a folder"),
    ],
)
def test_a_model_that_is_not_there_says_what_to_do(
    reference: str, tracking: str | None, reason: str
) -> None:
    with pytest.raises(RegistryError, match=reason):
        fetch(reference, Path(tracking) if tracking else None)
