"""Slots in marked text such as ``PLAY B-genre JAZZ E-genre``, and the two metrics of slot filling.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051); s3prl downstream/ctc/metric.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

import editdistance

from downstream.metrics import ratio
from engine.task import Prediction, Score

Values = dict[str, list[str]]
"""The values of each slot, in the order of the text."""

VALUE = re.compile(r"B-(\S+) (.+?) E-\1")
"""As in s3prl: the end marker's slot need only begin with the name, so that ``E-playlist_owner`` closes ``B-playlist``."""


def find_values(marked: str, nested: bool = True) -> Values:
    """The values that a text marks, each from its begin marker to the next end marker.

    Args:
        marked: runs of spaces count as one.
        nested: keep markers that stand inside a value; False strikes them.
    """
    values: Values = {}
    for slot, value in VALUE.findall(re.sub(" +", " ", marked)):
        values.setdefault(slot, []).append(value if nested else _without_markers(value))
    return values


def slot_type_f1(predictions: Sequence[Prediction]) -> Score:
    """F1 between the slots found and those that are there, averaged over utterances, in percent.

    An utterance without slots on either side counts 100, one without slots on one side 0.
    """
    return ratio([_f1(hypothesis.keys(), reference.keys()) for hypothesis, reference in _pairs(predictions)], [1] * len(predictions))


def slot_value_cer(predictions: Sequence[Prediction]) -> Score:
    """Character edits over the length of the references' values, summed over utterances, in percent.

    Each value is compared with the nearest one of its slot in the hypothesis, or with nothing; what else was found costs nothing.
    """
    edits, lengths = [], []
    for hypothesis, reference in _pairs(predictions):
        values = [(value, hypothesis.get(slot, [""])) for slot, values in reference.items() for value in values]
        edits.append(sum(min(editdistance.eval(found, value) for found in candidates) for value, candidates in values))
        lengths.append(sum(len(value) for value, _ in values))
    return ratio(edits, lengths)


def _pairs(predictions: Sequence[Prediction]) -> list[tuple[Values, Values]]:
    """Values of hypothesis and reference; markers inside values are struck from the hypothesis alone, as in s3prl."""
    return [(find_values(row.prediction, nested=False), find_values(row.reference or "")) for row in predictions]


def _f1(found: Set[str], expected: Set[str]) -> float:
    if not found and not expected:
        return 1.0
    return 2 * len(found & expected) / (len(found) + len(expected))


def _without_markers(value: str) -> str:
    return re.sub(r" E-\S+", "", re.sub(r"B-\S+ ", "", value))
