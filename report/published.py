"""The published numbers and the anchors of the SUPERB score: `configs/reference/published.yaml`, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import configs
from engine import yaml12

PUBLISHED = Path(configs.__path__[0]) / "reference" / "published.yaml"

Measure = tuple[str, str]
"""A task and one of its metrics: ("sf", "slot_cer")."""


@dataclass(frozen=True)
class Number:
    """A published value, in percent (mtwv: a fraction; bleu: points), and whether a second public source agrees with it."""

    value: float
    verified: bool
    source: str


@dataclass(frozen=True)
class Anchor:
    """The values of a metric that stand for 0 and 1000 of the SUPERB score."""

    baseline: float
    best: float


@dataclass(frozen=True)
class Reference:
    """Everything that is published.

    Attributes:
        rows: numbers by upstream, in the order of the papers.
        anchors: by task and metric; a task counts where all its metrics are there.
        baseline: the upstream that the baseline anchors belong to.
        notes: where the anchors come from.
        test_size: lines of predictions that a task's whole test set gives.
    """

    rows: Mapping[str, Mapping[Measure, Number]]
    anchors: Mapping[str, Mapping[str, Anchor]]
    baseline: str
    notes: str
    test_size: Mapping[str, int]

    @property
    def tasks(self) -> list[str]:
        """Every task with a published number, in the order of the papers."""
        return list(dict.fromkeys(task for numbers in self.rows.values() for task, _ in numbers))


def load(path: Path = PUBLISHED) -> Reference:
    """What the file holds. Raises ConfigError where it is no YAML."""
    content = yaml12.read(path)
    rows: dict[str, dict[Measure, Number]] = {}
    for table in content["tables"]:
        columns = content["columns"][table["columns"]]
        for upstream, row in table["rows"].items():
            for column, value in zip(columns, row["values"], strict=True):
                if value is not None:
                    task, metric = column.split()
                    rows.setdefault(upstream, {})[task, metric] = Number(value, column in row["verified"], table["source"])
    score = content["superb_score"]
    anchors = {task: {metric: Anchor(*pair) for metric, pair in metrics.items()} for task, metrics in score["anchors"].items()}
    return Reference(rows, anchors, score["baseline"], score["notes"], content["test_size"])
