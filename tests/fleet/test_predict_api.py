"""`/predict` on a real model file, and once on a real server process."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from foreshock_fleet.api import create_app
from foreshock_wire.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

NAMES = ["temperature", "pressure", "vibration", "torque", "motor_power"]
POINT = {name: 60.0 + 10 * n for n, name in enumerate(NAMES)}
ROW = list(POINT.values())
T = 48


@pytest.fixture(scope="module")
def model(model_a: bytes) -> Model:
    return Model.load(model_a)


class Client:
    """HTTP requests to the application without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def _request(self, method: str, path: str, content: bytes) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content)

    def post(self, path: str, content: bytes) -> httpx.Response:
        return asyncio.run(self._request("POST", path, content))

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._request("GET", path, b""))


@pytest.fixture(scope="module")
def client(model: Model) -> Client:
    return Client(create_app(model))


def predict(client: Client, document: object, query: str = "") -> dict[str, Any]:
    answer = client.post(f"/predict{query}", json.dumps(document).encode())
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refusal(client: Client, body: object) -> str:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/predict", content)
    assert answer.status_code == 422, answer.text
    return str(answer.json()["detail"])


def test_a_window_is_answered_as_the_gateway_would(client: Client, model: Model) -> None:
    assert model.spec.golden is not None
    window = model.spec.golden.windows[0]
    rows = [[None if np.isnan(cell) else float(cell) for cell in row] for row in window]
    said = predict(client, {"window": rows}, "?explain=true")
    out = model.run(window[np.newaxis], explain=True)
    assert said["probability"] == pytest.approx(float(out.probability[0]))
    assert said["label"] == int(out.margin[0] >= model.spec.threshold_margin)
    assert said["label_name"] == ["healthy", "failure expected"][said["label"]]
    assert said["threshold"] == model.spec.threshold
    assert list(said["modes"]) == list(model.spec.modes)
    hours = list(said["lead_time_h"].values())
    assert hours == sorted(hours)
    assert said["model"] == {"name": model.spec.name, "sha256": model.sha256}
    assert (said["samples_used"], said["window_samples"], said["held"]) == (T, T, False)
    shares = {reason["channel"]: reason["contribution"] for reason in said["reasons"]}
    assert shares == pytest.approx(dict(zip(NAMES, out.shapley[0].tolist(), strict=True)))
    sizes = [abs(reason["contribution"]) for reason in said["reasons"]]
    assert sizes == sorted(sizes, reverse=True)


def test_a_point_is_held_over_the_window_and_the_answer_says_so(
    client: Client, model: Model
) -> None:
    said = predict(client, POINT)
    assert (said["held"], said["samples_used"]) == (True, 1)
    as_window = predict(client, {"window": [ROW] * T})
    assert said["probability"] == as_window["probability"]
    assert as_window["held"] is False
    assert "reasons" not in said
    assert model.spec.length == T


def test_readings_by_channel_are_the_same_window(client: Client) -> None:
    rows = [[cell + math.sin(n) for cell in ROW] for n in range(30)]
    columns = {name: [row[c] for row in rows] for c, name in enumerate(NAMES)}
    by_row, by_channel = predict(client, {"window": rows}), predict(client, {"readings": columns})
    assert by_row == by_channel
    assert by_row["samples_used"] == 30


def test_null_is_a_missing_value(client: Client) -> None:
    assert predict(client, POINT | {"torque": None})["probability"] >= 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "wrong channels: missing temperature, pressure"),
        (POINT | {"humidity": 1}, "unknown humidity"),
        ({k: v for k, v in POINT.items() if k != "torque"}, "missing torque"),
        (POINT | {"torque": "high"}, "torque: str is not a number"),
        (POINT | {"torque": True}, "torque: bool is not a number"),
        (POINT | {"torque": 1e38}, "torque: not a finite number"),
        (POINT | {"torque": 10**400}, "torque: not a finite number"),
        (dict.fromkeys(POINT), "0% of the window"),
        ([POINT], "must be a JSON object"),
        (None, "must be a JSON object"),
        ({"window": []}, "has 0 samples"),
        ({"window": {}}, "window: has dict"),
        ({"window": "abc"}, "window: has str"),
        ({"window": [ROW] * (T + 1)}, "has 49 samples, give a list of 1 to 48"),
        ({"window": [ROW] * 10}, "21% of the window"),
        ({"window": [ROW[:4]] * T}, "row 0 has 4 values: give 5, in the order temperature"),
        ({"window": [[ROW] * 5] * T}, "row 0, temperature: list is not a number"),
        ({"window": [ROW] * T, "site": "x"}, "stands alone, but the body also has site"),
        ({"readings": [ROW]}, "readings must be an object"),
        ({"readings": {key: [1.0] for key in NAMES[:4]}}, "missing motor_power"),
        ({"readings": dict.fromkeys(NAMES, [1.0] * 30) | {"torque": [1.0]}}, "different lengths"),
        ({"readings": dict.fromkeys(NAMES, 4)}, "readings of temperature: has int"),
        (b'{"temperature": NaN}', "NaN is not a number in JSON: send null"),
        (b'{"temperature": -Infinity}', "-Infinity is not a number"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "nested too deep"),
        (b" " * (5 << 20), "more than 4194304 bytes"),
    ],
)
def test_bad_input_is_refused_by_name(client: Client, body: object, reason: str) -> None:
    assert reason in refusal(client, body)


def test_a_number_beyond_every_float_is_refused(client: Client) -> None:
    assert "not a finite number" in refusal(
        client, json.dumps(POINT | {"torque": 7}).replace(": 7,", ": 1e400,").encode()
    )


def test_health_metrics_and_openapi(client: Client, model: Model) -> None:
    assert client.get("/healthz").json()["model"]["sha256"] == model.sha256

    def counted(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    scored, refused = "foreshock_predictions_total{", "foreshock_prediction_refusals_total{"
    before = counted(scored), counted(refused)
    predict(client, POINT)
    refusal(client, {})
    assert (counted(scored), counted(refused)) == (before[0] + 1, before[1] + 1)
    schema = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
    point = schema["content"]["application/json"]["schema"]["oneOf"][0]
    assert point["required"] == NAMES


@pytest.fixture
def serving(tmp_path: Path, model_a: bytes) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    file = tmp_path / "model.onnx"
    file.write_bytes(model_a)
    command = [sys.executable, "-m", "foreshock", "fleet", "api", "--model", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        word, url = child.stdout.readline().split()
        assert word == "serving"
        yield url, child
        child.terminate()


def test_the_command_serves_on_a_free_loopback_port(
    serving: tuple[str, subprocess.Popen[str]], client: Client
) -> None:
    url, child = serving
    assert url.startswith("http://127.0.0.1:")
    assert _post(f"{url}/predict", POINT) == predict(client, POINT)
    with pytest.raises(urllib.error.HTTPError, match="422"):
        _post(f"{url}/predict", {})
    child.terminate()
    assert child.wait(20) in {0, -15}


def _post(url: str, document: object) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(url, json.dumps(document).encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return json.loads(answer.read())


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "foreshock", "fleet", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_a_file_that_is_no_model_is_an_error_without_a_traceback(
    command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "x.onnx").write_bytes(b"junk")
    for arguments in (
        ["api", "--model", str(tmp_path / "x.onnx")],
        ["publish", str(tmp_path / "x.onnx"), "--state", str(tmp_path / "fleet")],
    ):
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: not a model file")
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "fleet" / "models").exists()
