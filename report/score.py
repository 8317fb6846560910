"""The SUPERB score: one number for many tasks, 0 at the FBANK baseline and 1000 at the best published entry.

Source: SUPERB @ SLT 2022 (arXiv 2210.08634); A Large-Scale Evaluation of Speech Foundation Models (arXiv 2404.09385).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from report.published import Anchor, Measure


@dataclass(frozen=True)
class SuperbScore:
    """The score and the tasks that it is made of."""

    value: float
    tasks: tuple[str, ...]


def superb_score(values: Mapping[Measure, float], anchors: Mapping[str, Mapping[str, Anchor]]) -> SuperbScore | None:
    """1000 × the mean over tasks of (value - baseline) / (best - baseline), itself averaged over the metrics of a task.

    Tasks without anchors, or with a metric missing, do not take part; None where none is left. The score is above 1000 or below 0
    for an upstream outside the anchors. Whether lower or higher values are better is in the anchors' order.
    """
    shares = {
        task: fmean((values[task, metric] - anchor.baseline) / (anchor.best - anchor.baseline) for metric, anchor in metrics.items())
        for task, metrics in anchors.items()
        if all((task, metric) in values for metric in metrics)
    }
    return SuperbScore(1000 * fmean(shares.values()), tuple(shares)) if shares else None


def explain(anchors: Mapping[str, Mapping[str, Anchor]], tasks: Iterable[str], baseline: str) -> str:
    """The anchors of these tasks in words; they belong beside every score, since the best entries move."""
    pairs = [f"{task} {metric} {anchor.baseline:g} → {anchor.best:g}" for task in tasks for metric, anchor in anchors.get(task, {}).items()]
    return (
        f"SUPERB score: 1000 × mean over the tasks named of (value - {baseline}) / (best - {baseline}); scores over different tasks "
        f"do not compare. Anchors, {baseline} → best: {', '.join(pairs)}."
    )
