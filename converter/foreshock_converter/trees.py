"""XGBoost boosters as one `ai.onnx.ml` v5 TreeEnsemble, read from the booster's own JSON.

onnxmltools puts every tree of a multi-quantile regressor on target 0 and stops at opset 15, which
is why this exporter is ours (docs/adr/0003).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op
import xgboost as xgb

from foreshock_converter.errors import UnsupportedModelError
from foreshock_converter.survival import FailureTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from spox import Var

    Float32 = npt.NDArray[np.float32]

BRANCH_LT: Final = 1
LEAF: Final = -1
LOGIT_OBJECTIVES: Final = frozenset({"binary:logistic", "reg:logistic"})
"""Objectives whose base score is stored as a probability."""
AFT: Final = "survival:aft"
"""The objective whose base score is stored as a time, and whose margin is its logarithm."""
OBJECTIVES: Final = LOGIT_OBJECTIVES | {
    AFT,
    "binary:logitraw",
    "multi:softmax",
    "multi:softprob",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squarederror",
}


@dataclass(frozen=True, slots=True)
class Tree:
    """One regression tree: node i goes left when x < threshold, to `default_left` when missing."""

    target: int
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    threshold: Float32
    default_left: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Forest:
    """A booster in margin space: the sum of its trees per target, plus `base` float32[targets].

    `failure_time` is what `survival:aft` has around its margin, None for other objectives.
    """

    trees: tuple[Tree, ...]
    base: Float32
    features: int
    objective: str
    failure_time: FailureTime | None = None

    @property
    def targets(self) -> int:
        """How many columns it gives."""
        return len(self.base)


def read_forest(booster: xgb.Booster, *, name: str = "model") -> Forest:
    """Read every tree of `booster`; errors call it `name`.

    Raises:
        UnsupportedModelError: a booster, objective or tree that this exporter would get wrong.
    """
    learner = _learner(booster)
    _refuse(booster, learner, name)
    model = learner["gradient_booster"]["model"]
    trees = zip(model["tree_info"], model["trees"], strict=True)
    return Forest(
        trees=tuple(_tree(int(target), raw, name) for target, raw in trees),
        base=_base(learner),
        features=int(learner["learner_model_param"]["num_feature"]),
        objective=learner["objective"]["name"],
        failure_time=_failure_time(learner["objective"]),
    )


def tree_ensemble(features: Var, forests: Sequence[Forest]) -> Var:
    """Return margins float32[N, targets of all forests] of `features` float32[N, F]."""
    flat = _Flat()
    first = 0
    for forest in forests:
        for tree in forest.trees:
            flat.add(tree, first + tree.target)
        first += forest.targets
    sums = ml.tree_ensemble(features, n_targets=first, **flat.attributes())
    return op.add(sums, op.const(np.concatenate([forest.base for forest in forests])))


def snap_thresholds(booster: xgb.Booster, features: Float32) -> xgb.Booster:
    """Return `booster` with each threshold halfway between its neighbours in `features`.

    XGBoost puts thresholds on training values, where one ulp on another processor flips a
    decision. `features` float32[N, F] are what it was trained on, whose predictions stay the same.

    Raises:
        UnsupportedModelError: a booster that the exporter refuses, or one of other features.
    """
    forest = read_forest(booster)
    if features.ndim != 2 or features.shape[1] != forest.features:  # noqa: PLR2004 - [N, F]
        raise UnsupportedModelError(
            f"the booster splits {forest.features} features, snapping got {features.shape}: "
            "give the features that it was trained on"
        )
    known = [np.unique(column[np.isfinite(column)]) for column in features.T]
    document = json.loads(booster.save_raw("json"))
    for raw in document["learner"]["gradient_booster"]["model"]["trees"]:
        conditions = raw["split_conditions"]
        for node in _split_nodes(raw):
            conditions[node] = _midpoint(known[raw["split_indices"][node]], conditions[node])
    snapped = xgb.Booster()
    snapped.load_model(bytearray(json.dumps(document).encode()))
    snapped.load_config(booster.save_config())
    return snapped


def thresholds_by_feature(forests: Sequence[Forest]) -> tuple[Float32, ...]:
    """Return the sorted thresholds of each feature over all trees."""
    found: list[list[float]] = [[] for _ in range(forests[0].features)]
    for forest in forests:
        for tree in forest.trees:
            for node in np.flatnonzero(tree.left != LEAF):
                found[tree.feature[node]].append(float(tree.threshold[node]))
    return tuple(np.unique(np.array(values, np.float32)) for values in found)


def _learner(booster: xgb.Booster) -> dict[str, Any]:
    learner: dict[str, Any] = json.loads(booster.save_raw("json"))["learner"]
    return learner


def _refuse(booster: xgb.Booster, learner: dict[str, Any], name: str) -> None:
    problem = next(_unsupported(booster, learner), None)
    if problem:
        raise UnsupportedModelError(f"the {name} booster {problem}")


def _unsupported(booster: xgb.Booster, learner: dict[str, Any]) -> Iterator[str]:
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        yield f"is of kind {kind!r}: train it with booster='gbtree'"
    objective = learner["objective"]["name"]
    if objective not in OBJECTIVES:
        yield f"has the objective {objective!r}; supported are {', '.join(sorted(OBJECTIVES))}"
    rounds, best = booster.num_boosted_rounds(), booster.attr("best_iteration")
    if best is not None and int(best) + 1 < rounds:
        yield (
            f"stopped early at round {int(best) + 1} of {rounds}, and a booster predicts with all "
            "of them: pass booster[: booster.best_iteration + 1]"
        )
    if any(kind == "c" for kind in learner.get("feature_types") or ()):
        yield "splits on categories: one-hot encode them as numbers before training"
    trees = learner["gradient_booster"]["model"]["trees"]
    if not trees:
        yield "has no trees: train it for at least one round"
    if not all(np.isfinite([_base(learner).sum(), *map(_size, trees)])):
        yield (
            "has a base score or thresholds or leaves that are not finite: look for infinite "
            "labels or features, and for a base_score of 0 or 1"
        )


def _tree(target: int, raw: dict[str, Any], name: str) -> Tree:
    if int(raw["tree_param"]["size_leaf_vector"]) > 1:
        raise UnsupportedModelError(
            f"the {name} booster has vector leaves: train it with "
            "multi_strategy='one_output_per_tree'"
        )
    if any(raw["split_type"]) or raw["categories_nodes"]:
        raise UnsupportedModelError(
            f"the {name} booster splits on categories: one-hot encode them as numbers before "
            "training"
        )
    return Tree(
        target=target,
        left=np.array(raw["left_children"], np.int64),
        right=np.array(raw["right_children"], np.int64),
        feature=np.array(raw["split_indices"], np.int64),
        threshold=np.array(raw["split_conditions"], np.float32),
        default_left=np.array(raw["default_left"], np.int64),
    )


def _size(raw: dict[str, Any]) -> float:
    """Return a number that is finite when each number in the tree is."""
    return float(np.abs(np.array(raw["split_conditions"], np.float32)).max())


def _failure_time(objective: dict[str, Any]) -> FailureTime | None:
    if objective["name"] != AFT:
        return None
    told = objective["aft_loss_param"]
    return FailureTime(told["aft_loss_distribution"], float(told["aft_loss_distribution_scale"]))


def _base(learner: dict[str, Any]) -> Float32:
    stored = json.loads(learner["learner_model_param"]["base_score"])
    base = np.atleast_1d(np.array(stored, np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        if learner["objective"]["name"] in LOGIT_OBJECTIVES:
            base = -np.log(np.float32(1) / base - np.float32(1))
        if learner["objective"]["name"] == AFT:
            base = np.log(base)
    parameters = learner["learner_model_param"]
    targets = max(int(parameters["num_class"]), int(parameters["num_target"]), 1)
    return np.broadcast_to(base, (targets,)).astype(np.float32)


def _split_nodes(raw: dict[str, Any]) -> Iterator[int]:
    return (node for node, left in enumerate(raw["left_children"]) if left != LEAF)


def _midpoint(known: Float32, threshold: float) -> float:
    # x < threshold goes left, so the left neighbour is the last value strictly below it.
    at = int(np.searchsorted(known, np.float32(threshold), side="left"))
    if at == 0 or at == len(known):
        return threshold
    below, above = known[at - 1], known[at]
    middle = np.float32((float(below) + float(above)) / 2)
    return float(middle if below < middle <= above else above)


class _Flat:
    """Trees as the parallel lists that the operator takes: inner nodes and leaves apart."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.nodes: list[tuple[int, float, int, int, int, int, int]] = []
        self.leaves: list[tuple[int, float]] = []

    def add(self, tree: Tree, target: int) -> None:
        self.roots.append(len(self.nodes))
        if tree.left[0] == LEAF:
            leaf = self._leaf(tree, 0, target)
            self.nodes.append((0, 0.0, 0, leaf, 1, leaf, 1))
            return
        # Walk from the root: pruning leaves deleted nodes in the booster's arrays.
        places = {node: len(self.nodes) + i for i, node in enumerate(_inner_nodes(tree))}
        for node in places:
            true_id, true_is_leaf = self._child(tree, int(tree.left[node]), places, target)
            false_id, false_is_leaf = self._child(tree, int(tree.right[node]), places, target)
            self.nodes.append(
                (
                    int(tree.feature[node]),
                    float(tree.threshold[node]),
                    int(tree.default_left[node]),
                    true_id,
                    true_is_leaf,
                    false_id,
                    false_is_leaf,
                )
            )

    def attributes(self) -> dict[str, Any]:
        feature, split, default, true_id, true_leaf, false_id, false_leaf = zip(
            *self.nodes, strict=True
        )
        targets, weights = zip(*self.leaves, strict=True)
        return {
            "tree_roots": self.roots,
            "nodes_featureids": feature,
            "nodes_splits": np.array(split, np.float32),
            "nodes_modes": np.full(len(self.nodes), BRANCH_LT, np.uint8),
            "nodes_missing_value_tracks_true": default,
            "nodes_truenodeids": true_id,
            "nodes_trueleafs": true_leaf,
            "nodes_falsenodeids": false_id,
            "nodes_falseleafs": false_leaf,
            "leaf_targetids": targets,
            "leaf_weights": np.array(weights, np.float32),
        }

    def _child(self, tree: Tree, node: int, places: dict[int, int], target: int) -> tuple[int, int]:
        if tree.left[node] == LEAF:
            return self._leaf(tree, node, target), 1
        return places[node], 0

    def _leaf(self, tree: Tree, node: int, target: int) -> int:
        self.leaves.append((target, float(tree.threshold[node])))
        return len(self.leaves) - 1


def _inner_nodes(tree: Tree) -> list[int]:
    found, queue = [], [0]
    while queue:
        node = queue.pop()
        if tree.left[node] != LEAF:
            found.append(node)
            queue += [int(tree.right[node]), int(tree.left[node])]
    return found
