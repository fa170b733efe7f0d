"""One small trained model for all tests of the converter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_converter.assemble import assemble
from foreshock_converter.sample import Trained, synthetic_windows, train
from foreshock_wire.model import Model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@pytest.fixture(scope="session")
def trained() -> Trained:
    return train(rounds=30, depth=4)


@pytest.fixture(scope="session")
def model_bytes(trained: Trained) -> bytes:
    return assemble(
        trained.spec,
        trained.heads,
        trained.calibration,
        trained.novelty,
        windows=trained.windows,
    )


@pytest.fixture(scope="session")
def model(model_bytes: bytes) -> Model:
    return Model.load(model_bytes)


@pytest.fixture(scope="session")
def unseen() -> npt.NDArray[np.float32]:
    return synthetic_windows(100, 5, 48, seed=77)[0]
