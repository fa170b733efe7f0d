"""What a training begins with: examples from the lake, their features, and who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from foreshock_converter.features import FeatureGraph
from foreshock_trainer.examples import Examples, examples_of
from foreshock_trainer.lake import Lake
from foreshock_trainer.leaks import Side
from foreshock_trainer.splits import Split, rows_of, split_machines
from foreshock_wire.spec import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from foreshock_trainer.examples import Progress
    from foreshock_trainer.settings import LearnSettings

    Float32 = npt.NDArray[np.float32]

LEARNT_TABLES: Final = ("readings", "events")


@dataclass(frozen=True, slots=True)
class Gathered:
    """Examples, the split of their machines, and float32[N, F] of features, by name.

    `measured` bool[F] says which features are of a measured channel.
    """

    examples: Examples
    split: Split
    features: Float32
    names: tuple[str, ...]
    measured: npt.NDArray[np.bool_]
    window_ns: int
    provenance: Mapping[str, str]

    def of(self, group: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Return the rows bool[N] of a group of machines."""
        return rows_of(self.examples.machine, self.examples.machines, group)

    def side(self, *groups: tuple[str, ...]) -> Side:
        """Return groups of machines as one side of a split, for the leak detectors."""
        rows = self.of(tuple(name for group in groups for name in group))
        examples, end_ns = self.examples, self.examples.end_ns[rows]
        return Side(
            self.features[rows],
            examples.label[rows],
            examples.machine[rows],
            end_ns - self.window_ns,
            end_ns,
        )

    def counts(self) -> dict[str, int]:
        """Return how much there is of everything, by name."""
        examples, split = self.examples, self.split
        return {
            "windows": len(examples),
            "positive_windows": int(np.count_nonzero(examples.label)),
            "mixed_windows": int(np.count_nonzero(examples.mixed)),
            "machines_without_work_orders": len(examples.unknown_machines),
            **{f"dropped_{reason}": n for reason, n in sorted(examples.dropped.items())},
            "train_machines": len(split.train),
            "validation_machines": len(split.validation),
            "test_machines": len(split.test),
        }


def feature_graph(settings: LearnSettings) -> FeatureGraph:
    """Return what the windows of these settings become."""
    return FeatureGraph(
        settings.channels,
        settings.length,
        settings.period_s,
        derived=settings.derived,
        choice=settings.features,
    )


def gather(settings: LearnSettings, progress: Progress | None = None) -> Gathered:
    """Read the lake.

    Raises:
        ForeshockError: it cannot train a model; says what it lacks.
    """
    lake = Lake(settings.lake)
    versions = lake.version()
    graph = feature_graph(settings)
    features: list[Float32] = []
    examples = examples_of(
        lake,
        settings.cut,
        horizon_h=settings.horizon_h,
        progress=progress,
        seen=lambda windows: features.append(graph.extract(windows)),
    )
    with_windows = np.unique(examples.machine)
    split = split_machines(examples.machines[i] for i in with_windows)
    provenance = {f"lake_{table}_version": str(versions[table]) for table in LEARNT_TABLES}
    window_ns = settings.length * settings.cut.period_ns
    measured = np.array([channel.role is Role.MEASURED for channel, _ in graph.columns])
    return Gathered(
        examples,
        split,
        np.concatenate(features),
        graph.names,
        measured,
        window_ns,
        provenance,
    )
