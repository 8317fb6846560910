"""Metrics shared by tasks, each with its 95 % bootstrap interval. They see saved predictions and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import editdistance
import numpy as np

from engine.task import Prediction, Score, Statistic

RESAMPLES = 1000
BOOTSTRAP_SEED = 20210503  # the interval of given predictions is always the same
AT_ONCE = 1 << 22
"""Units times resamples that are worked on together."""


def scored(statistic: Statistic) -> Score:
    """The value of a metric and, when it is asked for, the percentile interval over resampled units, widened to contain the value."""
    value = float(statistic.under(np.ones((1, statistic.units)))[0])
    return Score(value, partial(percentiles, statistic, value), statistic)


def percentiles(statistic: Statistic, value: float) -> tuple[float, float]:
    """The ends of the interval around the value of a metric."""
    draws, some = np.random.default_rng(BOOTSTRAP_SEED), max(1, AT_ONCE // statistic.units)
    share = np.full(statistic.units, 1 / statistic.units)
    parts = [min(some, RESAMPLES - start) for start in range(0, RESAMPLES, some)]
    drawn = np.concatenate([statistic.under(draws.multinomial(statistic.units, share, size=part).astype(float)) for part in parts])
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (value, value)
    return min(value, float(low)), max(value, float(high))


def error_rate(predictions: Sequence[Prediction], unit: str) -> Score:
    """Edits over reference length, summed over utterances, in percent.

    Args:
        predictions: with references.
        unit: "word" (split at white space) or "character" (single spaces between words included).
    """
    edits, lengths = [], []
    for row in predictions:
        hypothesis, reference = row.prediction.split(), (row.reference or "").split()
        if unit == "character":
            hypothesis, reference = list(" ".join(hypothesis)), list(" ".join(reference))
        edits.append(editdistance.eval(hypothesis, reference))
        lengths.append(len(reference))
    return ratio(edits, lengths)


def accuracy(predictions: Sequence[Prediction]) -> Score:
    """Utterances whose prediction is their reference, in percent."""
    return ratio([row.prediction == row.reference for row in predictions], [1] * len(predictions))


def ratio(parts: Sequence[float], wholes: Sequence[float]) -> Score:
    """100 × sum(parts) / sum(wholes), with its interval over resampled utterances."""
    return scored(Ratio(np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)))


@dataclass(frozen=True)
class Ratio(Statistic):
    """100 × sum(parts) / sum(wholes); without any whole 0 where there are no parts either, else 100. Both (utterances,)."""

    parts: np.ndarray
    wholes: np.ndarray

    @property
    def units(self) -> int:
        return len(self.parts)

    def under(self, counts: np.ndarray) -> np.ndarray:
        part, whole = counts @ self.parts, counts @ self.wholes
        return np.where(whole > 0, 100.0 * part / np.where(whole > 0, whole, 1.0), np.where(part > 0, 100.0, 0.0))
