"""Import XGBoost without scikit-learn.

XGBoost imports scikit-learn, and with it scipy.stats and pandas, when they are installed, for the
estimator classes that Foreshock does not use. That is 2.8 of the 3.4 s of its import (measured,
xgboost-cpu 3.2), a fifth of a small retraining.
"""

from __future__ import annotations

import importlib
import sys

_HEAVY = "sklearn"


def import_xgboost_alone() -> None:
    """Import xgboost as if scikit-learn were absent; a later `import sklearn` works as ever.

    For a command's own process only: `xgboost.XGBClassifier` and its like do not work in it.
    """
    if "xgboost" in sys.modules or _HEAVY in sys.modules:
        return
    sys.modules[_HEAVY] = None  # type: ignore[assignment] # how Python is told "not installed"
    try:
        importlib.import_module("xgboost")
    finally:
        del sys.modules[_HEAVY]
