"""Which door a file goes through: by its name's end, from one table.

Pickles are code: whoever loads one runs what it says. They are read only when they are trusted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from foreshock_converter.doors import from_lightgbm, from_sklearn, from_xgboost
from foreshock_converter.errors import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from foreshock_converter.doors.brought import Estimator

    Float32 = npt.NDArray[np.float32]

NATIVE: Final[dict[str, Callable[[Path], Estimator]]] = {
    ".json": from_xgboost.read,
    ".ubj": from_xgboost.read,
    ".txt": from_lightgbm.read,
    ".lgb": from_lightgbm.read,
}
"""Files that hold nothing but a model."""
PICKLES: Final = (".pkl", ".pickle", ".joblib")
SKOPS: Final = ".skops"


def read_estimator(path: Path, rows: Float32, *, trust: bool) -> Estimator:
    """Read an estimator's file; `rows` float32[N, F'] are features like those it reads.

    Raises:
        UnsupportedModelError: an unknown kind of file, one that needs trust, or one that does not
            convert.
    """
    kind = path.suffix.lower()
    if kind in NATIVE:
        return NATIVE[kind](path)
    if kind == SKOPS:
        return _of_object(_from_skops(path, trust=trust), path.name, rows)
    if kind in PICKLES:
        return _of_object(_from_pickle(path, trust=trust), path.name, rows)
    raise UnsupportedModelError(
        f"{path.name}: known are {', '.join([*NATIVE, SKOPS, *PICKLES])}; save the estimator in "
        "its library's own format, or with skops"
    )


def _of_object(estimator: Any, name: str, rows: Float32) -> Estimator:  # noqa: ANN401 - unpickled
    """Take the booster out of a wrapper; everything else goes through skl2onnx."""
    module = type(estimator).__module__.partition(".")[0]
    if module == "xgboost":
        booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
        best = getattr(estimator, "best_iteration", None) if estimator is not booster else None
        # The wrapper predicts with its best rounds, a booster with all of them.
        return from_xgboost.of_booster(booster if best is None else booster[: best + 1], name)
    if module == "lightgbm":
        return from_lightgbm.of_booster(getattr(estimator, "booster_", estimator), name)
    return from_sklearn.of_estimator(estimator, name, rows)


def _from_pickle(path: Path, *, trust: bool) -> Any:  # noqa: ANN401 - unpickled
    if not trust:
        raise UnsupportedModelError(
            f"{path.name} is a pickle, and loading a pickle runs the code in it: pass --trust when "
            "you know who made it, or save the estimator with skops"
        )
    import joblib  # noqa: PLC0415 - scikit-learn's own

    try:
        return joblib.load(path)
    except Exception as error:  # noqa: BLE001 - a pickle may raise anything
        raise UnsupportedModelError(f"{path.name} does not load: {error!r:.300}") from None


def _from_skops(path: Path, *, trust: bool) -> Any:  # noqa: ANN401 - any type there is
    import skops.io  # noqa: PLC0415 - an extra of its own

    try:
        unknown = skops.io.get_untrusted_types(file=path)
        loaded = skops.io.load(path, trusted=unknown) if trust or not unknown else None
    except Exception as error:  # noqa: BLE001 - a zip of anything may raise anything
        raise UnsupportedModelError(f"{path.name} does not load: {error!r:.300}") from None
    if unknown and not trust:
        raise UnsupportedModelError(
            f"{path.name} holds types that skops does not know: {', '.join(unknown)}; pass "
            "--trust when you know who made it"
        )
    return loaded
