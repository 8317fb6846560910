"""MTWV by hand, by trying every threshold, and its interval by resampling query after query."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.errors import DataError
from downstream import metrics
from downstream.metrics import BOOTSTRAP_SEED
from downstream.termweighted import QueryScores, false_alarm_weight, maximum


def random_queries(count: int, seed: int = 0) -> list[QueryScores]:
    draws = np.random.default_rng(seed)
    return [
        QueryScores(draws.normal(1.5, 1, draws.integers(1, 5)).round(1).tolist(), draws.normal(0, 1, 30).round(1).tolist())
        for _ in range(count)
    ]


def slow_value(queries: list[QueryScores], beta: float) -> float:
    """The best of all thresholds at scores, and of one above them all."""
    values = [0.0]
    for threshold in {score for query in queries for score in query.targets + query.others}:
        worth = []
        for query in queries:
            miss = np.mean([score < threshold for score in query.targets])
            false_alarm = np.mean([score >= threshold for score in query.others])
            worth.append(1 - miss - beta * false_alarm)
        values.append(float(np.mean(worth)))
    return max(values)


def test_a_false_alarm_weighs_as_in_the_evaluation_plan() -> None:
    assert false_alarm_weight(0.0008, 100, 1) == pytest.approx(12.49)


def test_value_by_hand() -> None:
    """At 2: both targets of the first query, one of two of the second, and one of ten others of the second."""
    queries = [QueryScores([3, 2], [1, 0]), QueryScores([4, -1], [2, *[0.0] * 9])]
    assert maximum(queries, beta=2).value == pytest.approx((1 + 0.5 - 2 * 0.1) / 2)
    assert maximum(queries, beta=12.49).value == pytest.approx((0.5 + 0.5) / 2)  # at 3 instead, without the false alarm


def test_separable_scores_give_1_and_useless_ones_0() -> None:
    every = maximum([QueryScores([2, 3], [0, 1])] * 3, 12.49)
    assert (every.value, every.low, every.high) == (1, 1, 1)
    none = maximum([QueryScores([0], [1] * 20)] * 3, 12.49)
    assert (none.value, none.low, none.high) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_value_is_that_of_the_best_of_all_thresholds(seed: int) -> None:
    queries = random_queries(6, seed)
    assert maximum(queries, 3.0).value == pytest.approx(slow_value(queries, 3.0))


def test_queries_that_occur_nowhere_are_left_out() -> None:
    queries = random_queries(4)
    assert maximum([*queries, QueryScores([], [9, 9])], 3.0) == maximum(queries, 3.0)
    with pytest.raises(DataError, match="occurs in a document"):
        maximum([QueryScores([], [1, 2])], 3.0)


def test_what_was_not_searched_counts_as_not_detected() -> None:
    """Another query with one occurrence, and ten documents more for each query, all far below any threshold."""
    queries = random_queries(4)
    whole = [QueryScores(query.targets, query.others + [-10] * (44 - len(query.targets + query.others))) for query in queries]
    expected = maximum([*whole, QueryScores([-10], [-10] * 43)], 3.0)
    found = maximum(queries, 3.0, queries=5, documents=44)
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_interval_is_that_of_resampled_queries_with_a_threshold_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 60)
    queries = random_queries(5)
    draws = np.random.default_rng(BOOTSTRAP_SEED).multinomial(5, [0.2] * 5, size=60)
    values = [slow_value([query for query, count in zip(queries, drawn, strict=True) for _ in range(count)], 3.0) for drawn in draws]
    score, (low, high) = maximum(queries, 3.0), np.percentile(values, [2.5, 97.5])
    assert (score.low, score.high) == pytest.approx((min(low, score.value), max(high, score.value)))
    assert score.low < score.value < score.high
    assert score == maximum(queries, 3.0)
