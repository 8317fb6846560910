"""Verification metrics: values by hand, scikit-learn's curve, and intervals over speakers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from corpus.errors import DataError
from downstream import verification
from downstream.verification import Trials, crossings, eer, equal_error, mindcf


def trials(target: list[float], other: list[float]) -> Trials:
    """Trials with these scores, each between speakers of its own."""
    speakers = [(f"s{i}", f"s{i}") for i in range(len(target))] + [(f"a{i}", f"b{i}") for i in range(len(other))]
    return Trials(np.array(target + other), np.array([True] * len(target) + [False] * len(other)), speakers)


def random_trials(count: int, speakers: int, distance: float, seed: int = 0) -> Trials:
    draws = np.random.default_rng(seed)
    same, first = np.arange(count) % 2 == 0, draws.integers(0, speakers, count)
    second = np.where(same, first, (first + draws.integers(1, speakers, count)) % speakers)
    scores = np.round(draws.normal(size=count) + distance * same, 2)  # with ties
    return Trials(scores, same, [(f"s{a}", f"s{b}") for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize(
    "target, other, percent",
    [
        ([0.9, 0.8], [0.2, 0.1], 0.0),  # separable
        ([0.1, 0.2], [0.8, 0.9], 100.0),  # the wrong way round
        ([0.5], [0.5], 50.0),  # the same score for both
        ([0.9, 0.3], [0.5, 0.1], 50.0),  # accepting the highest two: one miss of two, one false alarm of two
        ([0.9, 0.8, 0.7, 0.3], [0.6, 0.2, 0.1, 0.0], 25.0),  # behind 0.6: 1 miss of 4, 1 false alarm of 4
        ([0.9, 0.8, 0.4], [0.6, 0.3, 0.2, 0.1], 25.0),  # at 1 false alarm of 4 the misses fall from 1/3 to 0
    ],
)
def test_equal_error_rate_by_hand(target: list[float], other: list[float], percent: float) -> None:
    assert eer(trials(target, other)).value == pytest.approx(percent)


def test_identical_distributions_give_a_half() -> None:
    assert eer(random_trials(5000, 40, 0.0)).value == pytest.approx(50.0, abs=2.0)


def test_gaussians_give_their_known_rate() -> None:
    """Two unit normals 2 apart cross at Φ(-1) = 15.87 %."""
    assert eer(random_trials(10_000, 40, 2.0)).value == pytest.approx(15.87, abs=1.0)


def test_the_threshold_lies_between_the_kinds() -> None:
    scored = trials([0.9, 0.8], [0.2, 0.1])
    rate, threshold = equal_error(scored.scores, scored.same)
    assert rate == pytest.approx(0.0, abs=1e-9) and 0.2 < threshold <= 0.8


def test_detection_cost_by_hand() -> None:
    assert mindcf(trials([0.9, 0.8], [0.2, 0.1])).value == 0.0
    assert mindcf(trials([0.1], [0.9])).value == 1.0  # as good as accepting none
    # Behind 0.6, one of 4 is missed: 0.01 × 1/4 / 0.01. Accepting 0.6 as well costs 0.99 × 1/4 / 0.01.
    assert mindcf(trials([0.9, 0.8, 0.7, 0.5], [0.6, 0.2, 0.1, 0.0])).value == pytest.approx(0.25)


def test_detection_cost_is_that_of_sklearns_curve() -> None:
    scored = random_trials(3000, 40, 1.5)
    false_alarms, hits, _ = roc_curve(scored.same, scored.scores)
    assert mindcf(scored).value == pytest.approx(np.min(0.01 * (1 - hits) + 0.99 * false_alarms) / 0.01)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_the_bootstraps_rate_is_that_of_sklearns_curve(distance: float) -> None:
    for seed in range(5):
        scored = random_trials(301, 12, distance, seed)
        weights = np.stack([np.ones(301), np.random.default_rng(seed).integers(0, 4, 301)])
        curve = verification._Curve(scored)
        order = np.argsort(-scored.scores, kind="stable")
        rates = crossings(*curve.rates(weights[:, order]))
        for rate, weight in zip(rates, weights, strict=True):
            kept = weight > 0
            copies = np.repeat(np.arange(301)[kept], weight[kept].astype(int))
            assert rate == pytest.approx(equal_error(scored.scores[copies], scored.same[copies])[0], abs=1e-9)


def test_intervals_contain_the_value_and_repeat() -> None:
    for seed in range(5):
        scored = random_trials(200, 10, 1.0, seed)
        for metric in (eer, mindcf):
            score = metric(scored)
            assert score.low <= score.value <= score.high and score == metric(scored)
            assert score.high > score.low


def test_intervals_are_over_speakers() -> None:
    """One of ten speakers is always wrong: over trials the rate would be certain, over speakers it is not."""
    scores, same, speakers = [], [], []
    for place in range(10):
        for _ in range(100):
            scores.append(-1.0 if place == 0 else 1.0)
            same.append(True)
            speakers.append((f"s{place}", f"s{place}"))
            scores.append(0.0)
            same.append(False)
            speakers.append((f"s{place}", f"s{(place + 1) % 10}"))
    score = eer(Trials(np.array(scores), np.array(same), speakers))
    assert score.value == pytest.approx(10.0) and score.low == 0.0 and score.high > 20.0


def test_two_speakers_counted_by_hand() -> None:
    """Speakers a and b drawn 2 and 0 times leave no trial of two, and no rate; 1 and 1 leave all of them."""
    scored = Trials(np.array([0.9, 0.8, 0.1]), np.array([True, True, False]), [("a", "a"), ("b", "b"), ("b", "a")])
    counts = np.array([[2.0, 0.0], [1.0, 1.0]])
    assert verification._Curve(scored).weights(counts).tolist() == [[2, 0, 0], [1, 1, 1]]
    statistic = eer(scored).statistic
    assert statistic is not None and np.isnan(statistic.under(counts)).tolist() == [True, False]
    lone = Trials(np.array([0.9, 0.1]), np.array([True, False]), [("a", "a"), ("a", "b")])
    assert eer(lone).value == eer(lone).low == eer(lone).high == pytest.approx(0.0, abs=1e-9)


def test_trials_of_one_kind_have_no_rates() -> None:
    with pytest.raises(DataError, match="2 trials, all of one kind"):
        trials([0.5, 0.6], [])


def test_the_published_number_of_trials_is_scored_in_parts() -> None:
    """37,720 trials times 1,000 resamples are worked on some at a time; two normal distributions 2.5 apart have an EER of 10.6 %."""
    found = eer(random_trials(37_720, 40, 2.5))
    assert found.low <= found.value <= found.high and found.value == pytest.approx(10.6, abs=0.5)
