"""Metrics shared by tasks, each with its 95 % bootstrap interval. They see saved predictions and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import editdistance
import numpy as np

from engine.task import Prediction, Score

RESAMPLES = 2000
BOOTSTRAP_SEED = 20210503  # the interval of given predictions is always the same


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
    """100 × sum(parts) / sum(wholes) with the percentile interval over resampled utterances, widened to contain the value.

    Without any whole (an empty reference everywhere) the rate is 0 where there are no parts either, else 100.
    """
    part, whole = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    value = _rate(part.sum(), whole.sum())
    draws = np.random.default_rng(BOOTSTRAP_SEED)
    rates = []
    for _ in range(RESAMPLES):
        chosen = draws.integers(0, len(part), len(part))
        rates.append(_rate(part[chosen].sum(), whole[chosen].sum()))
    low, high = np.percentile(rates, [2.5, 97.5])
    return Score(value, min(value, float(low)), max(value, float(high)))


def _rate(part: float, whole: float) -> float:
    if not whole:
        return 100.0 if part else 0.0
    return float(100.0 * part / whole)
