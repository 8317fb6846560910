"""Metrics of speaker verification: equal error rate and minimum detection cost, with intervals over speakers.

Shape letters: N trials, P points of the ROC curve, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from corpus.errors import DataError
from engine.task import Score

RESAMPLES = 1000
BOOTSTRAP_SEED = 20210503  # the interval of given trials is always the same
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
    return _score(100 * equal_error(trials.scores, trials.same)[0], [100 * crossings(*rates) for rates in _resampled(trials)])


def mindcf(trials: Trials) -> Score:
    """The detection cost at the best threshold, as a fraction of the cost of the better of accepting all and accepting none."""
    everything = _Curve(trials).rates(np.ones((1, len(trials.same))))
    return _score(float(least_costs(*everything)[0]), [least_costs(*rates) for rates in _resampled(trials)])


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


def _score(value: float, resampled: list[np.ndarray]) -> Score:
    """The value with its percentile interval, widened to contain it; without width where no resample had trials of both kinds."""
    low, high = np.percentile(np.concatenate(resampled), [2.5, 97.5]) if resampled else (value, value)
    return Score(value, min(value, float(low)), max(value, float(high)))


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

    def resampled_weights(self, draws: np.random.Generator, count: int) -> np.ndarray:
        """How often each trial counts when the speakers are drawn anew, (R, N), R <= `count`.

        A trial of two speakers counts once for each pair of their draws, a trial of one speaker once a draw; draws that leave
        trials of one kind alone are left out.
        """
        times = draws.multinomial(self.speakers, np.full(self.speakers, 1 / self.speakers), size=count).astype(float)
        weights = times[:, self.first] * np.where(self.first == self.second, 1.0, times[:, self.second])
        return weights[weights[:, self.same].any(axis=1) & weights[:, ~self.same].any(axis=1)]


def _resampled(trials: Trials) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The curves of `RESAMPLES` draws of speakers, some at a time."""
    curve, draws = _Curve(trials), np.random.default_rng(BOOTSTRAP_SEED)
    some = max(1, AT_ONCE // len(trials.same))
    for start in range(0, RESAMPLES, some):
        weights = curve.resampled_weights(draws, min(some, RESAMPLES - start))
        if len(weights):
            yield curve.rates(weights)
