"""Is one run better than another?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import downstream
from engine.errors import CheckpointError, ConfigError
from engine.task import Prediction, Score
from report.collect import read
from report.compare import Comparison, as_json, as_text, compare
from tests.report.make import experiment, record, sweep

DRAWS = np.random.default_rng(0)


def answers(right: Sequence[bool]) -> list[Prediction]:
    """Predictions of a classification, right or wrong."""
    return [Prediction(f"u{place:03}", "yes" if is_right else "no", "yes") for place, is_right in enumerate(right)]


def ks(folder: Path, right: Sequence[bool], **keys: object) -> Path:
    return experiment(folder, record("ks", {"acc": 1.0}, **keys), answers(right))  # type: ignore[arg-type]


def compared(a: Path, b: Path, split: str | None = None) -> Comparison:
    return compare(read(a), read(b), split)


def test_interval_and_p_value_of_accuracies_are_those_of_a_paired_test(tmp_path: Path) -> None:
    """The difference of two accuracies is the mean of +1, 0 and -1 over items: normal, by its standard error."""
    first = DRAWS.random(400) < 0.80
    second = np.where(DRAWS.random(400) < 0.15, ~first, first)
    found = compared(ks(tmp_path / "a", first.tolist()), ks(tmp_path / "b", second.tolist())).differences[0]
    each = 100.0 * (first.astype(float) - second)
    error = each.std() / math.sqrt(len(each))
    assert (found.a, found.b, found.difference) == pytest.approx((100 * first.mean(), 100 * second.mean(), each.mean()))
    assert (found.low, found.high) == pytest.approx((each.mean() - 1.96 * error, each.mean() + 1.96 * error), abs=0.25)
    assert found.p_value == pytest.approx(math.erfc(abs(each.mean()) / error / math.sqrt(2)), abs=0.01)


def test_the_better_run_is_named_whichever_way_is_better(tmp_path: Path) -> None:
    good, bad = [True] * 95 + [False] * 5, [False] * 40 + [True] * 60
    assert compared(ks(tmp_path / "a", good), ks(tmp_path / "b", bad)).differences[0].better == "A"
    assert compared(tmp_path / "b", tmp_path / "a").differences[0].better == "B"
    text = as_text(compared(tmp_path / "b", tmp_path / "a"))
    assert "acc: B is better than A (p < 0.001)." in text

    for name, wrong in (("c", 1), ("d", 5)):
        rows = [Prediction(f"u{place:02}", "X " * wrong + "A " * (10 - wrong), "A " * 10) for place in range(50)]
        experiment(tmp_path / name, record("asr", {"wer": 1.0}), rows)
    assert [each.better for each in compared(tmp_path / "c", tmp_path / "d").differences] == ["A", "A"]


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    right = (DRAWS.random(50) < 0.5).tolist()
    found = compared(ks(tmp_path / "a", right), ks(tmp_path / "b", right))
    assert (found.differences[0].difference, found.differences[0].p_value, found.differences[0].better) == (0.0, 1.0, "")
    assert "no difference is shown" in as_text(found)


def test_the_same_runs_compare_the_same_every_time(tmp_path: Path) -> None:
    a, b = (ks(tmp_path / name, (DRAWS.random(60) < 0.5).tolist()) for name in "ab")
    assert compared(a, b).differences == compared(a, b).differences
    there, back = compared(a, b).differences[0], compared(b, a).differences[0]
    assert (back.low, back.high, back.p_value) == pytest.approx((-there.high, -there.low, there.p_value))


def test_demo_runs_are_marked(tmp_path: Path) -> None:
    found = compared(*(ks(tmp_path / name, [True, False], demo=True) for name in "ab"))
    assert "demo corpora (eSpeak NG voices)" in as_text(found)
    content = json.loads(as_json(found))
    assert content["demo"] is True and content["differences"][0]["metric"] == "acc"


def test_a_metric_that_says_nothing_of_its_units_is_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a task from another package."""
    task = downstream.registry.load("ks")

    def plain(self: object, predictions: Sequence[Prediction]) -> dict[str, Score]:
        value = 100.0 * sum(row.prediction == row.reference for row in predictions) / len(predictions)
        return {"acc": Score(value, lambda: (value, value))}

    first, second = DRAWS.random(200) < 0.9, DRAWS.random(200) < 0.6
    a, b = ks(tmp_path / "a", first.tolist()), ks(tmp_path / "b", second.tolist())
    expected = compared(a, b).differences[0]
    monkeypatch.setattr(task, "score", plain)
    found = compared(a, b).differences[0]
    assert (found.difference, found.better) == (pytest.approx(expected.difference), "A")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=2.0)


def test_folds_are_drawn_apart_and_averaged(tmp_path: Path) -> None:
    folds = ["fold1", "fold2"]
    for name, shares in (("a", (0.9, 0.7)), ("b", (0.5, 0.5))):
        sweep(tmp_path / name, "variants", "ks", folds)
        experiment(tmp_path / name, record("ks", {"acc": 1.0}))
        for fold, share in zip(folds, shares, strict=True):
            right = [place < round(share * 40) for place in range(40)]
            ks(tmp_path / name / fold, right)
    found = compared(tmp_path / "a", tmp_path / "b")
    assert found.items == 80
    assert (found.differences[0].a, found.differences[0].b) == (pytest.approx(80.0), pytest.approx(50.0))
    assert found.differences[0].better == "A"
    with pytest.raises(ConfigError, match="fold1, fold2"):
        compared(tmp_path / "a", tmp_path / "b" / "fold1")


def test_runs_that_cannot_be_paired_are_refused_naming_what_differs(tmp_path: Path) -> None:
    a = ks(tmp_path / "a", [True, False])
    sid = experiment(tmp_path / "sid", record("sid", {"acc": 1.0}), answers([True, False]))
    with pytest.raises(ConfigError, match="has task ks, .* sid"):
        compared(a, sid)
    corrected = ks(tmp_path / "corrected", [True, False], protocol="corrected")
    with pytest.raises(ConfigError, match="has protocol superb, .* corrected"):
        compared(a, corrected)
    more = ks(tmp_path / "more", [True, False, True])
    with pytest.raises(ConfigError, match=r"different items: 1 only in .*more \(u002"):
        compared(a, more)
    other = experiment(tmp_path / "other", record("ks", {"acc": 1.0}), [Prediction("u000", "yes", "yes"), Prediction("u001", "yes", "up")])
    with pytest.raises(ConfigError, match="the reference of u001 is 'yes' in .* and 'up' in "):
        compared(a, other)
    with pytest.raises(CheckpointError, match="no result of split dev, only of test"):
        compared(a, a, "dev")


TURNS, CELLS = "A 0.000-1.000; B 0.500-2.000", {"correct_cells": 9.0, "cells": 10.0}
ROWS = {
    "asr": [Prediction("a", "ONE", "ONE TWO"), Prediction("b", "ONE", "ONE")],
    "pr": [Prediction("a", "AA0", "AA0 B"), Prediction("b", "B", "B")],
    "sf": [Prediction("a", "PLAY B-x JAZ E-x", "PLAY B-x JAZZ E-x"), Prediction("b", "", "B-x JAZZ E-x")],
    "sd": [Prediction("a", TURNS, TURNS, CELLS), Prediction("b", "A 0.000-1.000", TURNS, CELLS)],
    "asv": [Prediction(f"id1-v-{n}_id{n % 3}-v-{n}", "same", ("same", "different")[n % 2], {"cosine": n / 7}) for n in range(12)],
    "qbe": [Prediction(f"q{n % 3}__d{n}", "NO", ("YES", "NO")[n % 2], {"score": n / 7}) for n in range(12)],
}


@pytest.mark.parametrize("name", downstream.registry.names())
def test_every_metric_of_superb_knows_its_units(name: str) -> None:
    """What does not is scored again for every resample, which takes minutes."""
    task = downstream.registry.load(name)
    scores = task(task.Corpus(), task.Head()).score(ROWS.get(name, answers([True, False])))
    assert {metric.name for metric in task.metrics} == scores.keys()
    for score in scores.values():
        assert score.statistic is not None
        assert score.statistic.under(np.ones((1, score.statistic.units)))[0] == pytest.approx(score.value)
