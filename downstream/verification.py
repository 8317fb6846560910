"""Metrics of speaker verification: equal error rate and minimum detection cost, with intervals over speakers.

Shape letters: N trials, P points of the ROC curve, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from corpus.errors import DataError
from downstream.metrics import scored
from engine.task import Score, Statistic

AT_ONCE = 1 << 20
"""Trials times resamples that are worked on together."""

TARGET_PRIOR = 0.01
"""Of the detection cost, where a miss and a false alarm cost 1 each (VoxSRC's)."""


@dataclass(frozen=True)
class Trials:
    """Scored trials.

    Attributes:
        scores: (N,) float, higher where one speaker is likelier.
        same: (N,) bool, whether one speaker says both.
        speakers: who says the two, N pairs.
    Raises:
        DataError: trials of one kind alone, which have no error rates.
    """

    scores: np.ndarray
    same: np.ndarray
    speakers: Sequence[tuple[str, str]]

    def __post_init__(self) -> None:
        if self.same.all() or not self.same.any():
            raise DataError(f"{len(self.same)} trials, all of one kind: error rates need some of one speaker and some of two")


def equal_error(scores: np.ndarray, same: np.ndarray) -> tuple[float, float]:
    """The equal error rate, a fraction, and the threshold on the scores that comes nearest to it. Arguments as in `Trials`.

    The rate is where the ROC curve, with straight lines between its points, has as many misses as false alarms. Source: s3prl
    downstream/sv_voxceleb1/utils.py.
    """
    false_alarms, hits, thresholds = roc_curve(same, scores, drop_intermediate=False)
    rate = brentq(lambda x: 1.0 - x - np.interp(x, false_alarms, hits), 0.0, 1.0)
    return float(rate), float(thresholds[np.argmin(np.abs(1.0 - hits - false_alarms))])


def eer(trials: Trials) -> Score:
    """The equal error rate in percent."""
    return scored(OverSpeakers(trials, lambda misses, false_alarms: 100 * crossings(misses, false_alarms)))


def mindcf(trials: Trials) -> Score:
    """The detection cost at the best threshold, as a fraction of the cost of the better of accepting all and accepting none."""
    return scored(OverSpeakers(trials, least_costs))


def crossings(misses: np.ndarray, false_alarms: np.ndarray) -> np.ndarray:
    """(R,) equal error rates of curves (R, P) that begin with accepting none."""
    gap = misses - false_alarms
    rows, after = np.arange(len(gap)), np.argmax(gap <= 0, axis=1)  # never 0: the first gap is 1
    before = after - 1
    share = gap[rows, before] / (gap[rows, before] - gap[rows, after])
    return false_alarms[rows, before] * (1 - share) + false_alarms[rows, after] * share


def least_costs(misses: np.ndarray, false_alarms: np.ndarray) -> np.ndarray:
    """(R,) normalised detection costs of curves (R, P)."""
    costs = TARGET_PRIOR * misses + (1 - TARGET_PRIOR) * false_alarms
    return costs.min(axis=1) / min(TARGET_PRIOR, 1 - TARGET_PRIOR)


class _Curve:
    """The ROC curve of trials, for any number of times that each of them counts."""

    def __init__(self, trials: Trials) -> None:
        order = np.argsort(-trials.scores, kind="stable")
        scores = trials.scores[order]
        self.same = trials.same[order]
        self.ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # thresholds lie behind equal scores
        names, places = np.unique(np.array(trials.speakers)[order], return_inverse=True)
        self.first, self.second = places.reshape(-1, 2).T
        self.speakers = len(names)

    def rates(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Misses and false alarms, each (R, P), of trials that count (R, N) times; points go from accepting none to all."""
        accepted = []
        for kind in (self.same, ~self.same):
            sums = np.cumsum(weights * kind, axis=1)[:, self.ends]
            accepted.append(np.pad(sums / sums[:, -1:], ((0, 0), (1, 0))))
        return 1.0 - accepted[0], accepted[1]

    def weights(self, counts: np.ndarray) -> np.ndarray:
        """How often each trial counts, (R, N), where speakers are drawn (R, speakers) times.

        A trial of two speakers counts once for each pair of their draws, a trial of one speaker once a draw.
        """
        return counts[:, self.first] * np.where(self.first == self.second, 1.0, counts[:, self.second])


class OverSpeakers(Statistic):
    """A figure of the ROC curve by how often each speaker is drawn; none where trials of one kind alone are left.

    Args:
        figure: (R,) of misses and false alarms, (R, P) each.
    """

    def __init__(self, trials: Trials, figure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.curve, self.figure = _Curve(trials), figure

    @property
    def units(self) -> int:
        return self.curve.speakers

    def under(self, counts: np.ndarray) -> np.ndarray:
        some = max(1, AT_ONCE // len(self.curve.same))
        return np.concatenate([self._under(counts[start : start + some]) for start in range(0, len(counts), some)])

    def _under(self, counts: np.ndarray) -> np.ndarray:
        weights, same = self.curve.weights(counts), self.curve.same
        values = np.full(len(counts), np.nan)
        both = weights[:, same].any(axis=1) & weights[:, ~same].any(axis=1)
        if both.any():
            values[both] = self.figure(*self.curve.rates(weights[both]))
        return values
