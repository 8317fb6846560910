"""Metrics by hand, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from downstream.metrics import error_rate, ratio
from engine.task import Prediction


def rows(*pairs: tuple[str, str]) -> list[Prediction]:
    return [Prediction(f"u{index}", hypothesis, reference) for index, (hypothesis, reference) in enumerate(pairs)]


@pytest.mark.parametrize(
    "pairs, wer",
    [
        ([("THE CAT SAT", "THE CAT SAT")], 0.0),
        ([("THE CAT", "THE CAT SAT")], 100 / 3),  # a deletion
        ([("THE BAT SAT ON", "THE CAT SAT")], 200 / 3),  # a substitution and an insertion
        ([("", "ONE TWO")], 100.0),
        ([("A B C D", "A")], 300.0),  # more than everything wrong
        ([("ONE", "ONE"), ("A B C X", "A B C D")], 100 / 5),  # edits summed over the split, not a mean of rates
        ([("  TWO   WORDS ", "TWO WORDS")], 0.0),  # the number of spaces does not matter
    ],
)
def test_word_error_rate_by_hand(pairs: list[tuple[str, str]], wer: float) -> None:
    assert error_rate(rows(*pairs), "word").value == pytest.approx(wer)


@pytest.mark.parametrize(
    "pairs, cer",
    [
        ([("CAT", "CAT")], 0.0),
        ([("CART", "CAT")], 100 / 3),
        ([("THECAT", "THE CAT")], 100 / 7),  # the space between words is a character
        ([("THE   CAT", "THE CAT")], 0.0),
        ([("", "AB"), ("CD", "CD")], 50.0),
    ],
)
def test_character_error_rate_by_hand(pairs: list[tuple[str, str]], cer: float) -> None:
    assert error_rate(rows(*pairs), "character").value == pytest.approx(cer)


def test_empty_references_give_zero_or_a_hundred() -> None:
    assert error_rate(rows(("", "")), "word").value == 0.0
    assert error_rate(rows(("WORD", "")), "word").value == 100.0


def test_interval_contains_the_value_and_is_the_same_every_time() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        parts, wholes = draws.integers(0, 5, 12).tolist(), draws.integers(1, 12, 12).tolist()
        score = ratio(parts, wholes)
        assert score.low <= score.value <= score.high
        assert ratio(parts, wholes) == score
    assert ratio([1], [4]) == ratio([1], [4])
    assert (ratio([1], [4]).low, ratio([1], [4]).high) == (25.0, 25.0)  # one utterance: nothing to resample


def test_interval_has_the_width_of_the_sampling_error() -> None:
    """For n equal utterances the rate is a mean: ± 1.96 standard errors."""
    draws = np.random.default_rng(1)
    edits = (draws.random(400) < 0.3).astype(int).tolist()
    score, share = ratio(edits, [1] * 400), sum(edits) / 400
    error = 100 * (share * (1 - share) / 400) ** 0.5
    assert score.low == pytest.approx(score.value - 1.96 * error, abs=0.6)
    assert score.high == pytest.approx(score.value + 1.96 * error, abs=0.6)


def test_interval_does_not_touch_numpys_global_random_state() -> None:
    np.random.seed(5)
    before = np.random.random()
    np.random.seed(5)
    ratio([1, 2], [3, 4])
    assert np.random.random() == before
