"""Term weighted value (TWV), the metric of spoken term detection, in the form of MediaEval's query-by-example evaluations.

At a threshold on the scores a query is worth 1 - P(miss) - beta P(false alarm), over the documents with and without it; TWV is the
mean over queries, MTWV its maximum over thresholds. Finding nothing at all is worth 0.

Source: NIST, Spoken Term Detection 2006 evaluation plan; QUESST 2014's score-TWV-Cnxe.sh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.errors import DataError
from downstream.metrics import scored
from engine.task import Score, Statistic


@dataclass(frozen=True)
class QueryScores:
    """The scores of one query: in the documents that hold it, and in the others that were searched."""

    targets: list[float]
    others: list[float]


def false_alarm_weight(target_prior: float, miss_cost: float, false_alarm_cost: float) -> float:
    """Beta, what a false alarm costs in units of a miss."""
    return false_alarm_cost / miss_cost * (1 / target_prior - 1)


def maximum(searched: Sequence[QueryScores], beta: float, queries: int | None = None, documents: int | None = None) -> Score:
    """MTWV with the percentile interval over resampled queries, each resample with a maximum of its own, widened to contain the value.

    Queries that occur in no document have no P(miss) and are left out.

    Args:
        searched: the queries that were searched for.
        queries, documents: size of the whole evaluation, where only a part of it was searched; the rest is never detected.
    Raises:
        DataError: no query occurs in any document.
    """
    occurring = [query for query in searched if len(query.targets)]
    if not occurring:
        raise DataError("MTWV needs a query that occurs in a document: none of these does; look at the ground truth")
    thresholds = np.unique(np.concatenate([query.targets for query in occurring]))  # between two hits only false alarms are added
    worth = np.zeros((max(queries or 0, len(occurring)), len(thresholds)))  # what was not searched detects nothing
    worth[: len(occurring)] = [_worth(query, thresholds, beta, documents) for query in occurring]
    return scored(MaximumWorth(worth))


@dataclass(frozen=True)
class MaximumWorth(Statistic):
    """MTWV of queries, each resample with a maximum of its own.

    Attributes:
        worth: (queries, thresholds).
    """

    worth: np.ndarray

    @property
    def units(self) -> int:
        return len(self.worth)

    def under(self, counts: np.ndarray) -> np.ndarray:
        values = counts @ self.worth / counts.sum(axis=1, keepdims=True)
        return np.maximum(values.max(axis=1), 0.0)  # 0 is the value where the threshold is above all scores


def _worth(query: QueryScores, thresholds: np.ndarray, beta: float, documents: int | None) -> np.ndarray:
    """What a query is worth at each of the ascending thresholds, itself included: (thresholds,)."""
    hits, alarms = (len(scores) - np.searchsorted(np.sort(scores), thresholds) for scores in (query.targets, query.others))
    others = max((documents or 0) - len(query.targets), len(query.others), 1)
    return hits / len(query.targets) - beta * alarms / others
