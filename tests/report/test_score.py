"""The SUPERB score and the published numbers behind it."""

from __future__ import annotations

import pytest

from report.published import Anchor, load
from report.score import explain, superb_score

FOUR = ("pr", "sid", "er", "sf")


def values(pr: float, sid: float, er: float, f1: float, slot_cer: float) -> dict[tuple[str, str], float]:
    return {("pr", "per"): pr, ("sid", "acc"): sid, ("er", "acc"): er, ("sf", "f1"): f1, ("sf", "slot_cer"): slot_cer}


@pytest.mark.parametrize(
    "row, printed",
    [
        ((5.17, 81.86, 64.99, 88.54, 24.70), 870.20),  # HuBERT
        ((5.22, 79.89, 65.38, 88.52, 23.80), 870.71),  # + regular fine-tuning
        ((3.94, 84.11, 67.78, 88.84, 23.46), 905.79),  # + Speech-FT
        ((5.78, 75.26, 63.45, 88.12, 24.88), 837.08),  # wav2vec 2.0
        ((6.84, 72.95, 64.53, 87.22, 26.45), 824.82),
        ((4.14, 78.44, 64.87, 88.37, 24.10), 864.79),
    ],
)
def test_score_gives_back_the_figure_of_speech_ft(row: tuple[float, ...], printed: float) -> None:
    """asset/performance.png of the Speech-FT repository; the anchors are fitted to these rows, rounding leaves less than 0.05."""
    score = superb_score(values(*row), load().anchors)
    assert score is not None
    assert score.value == pytest.approx(printed, abs=0.05)
    assert score.tasks == FOUR


def test_the_baseline_is_worth_nothing_and_the_best_entries_a_thousand() -> None:
    reference = load()
    baseline = {measure: number.value for measure, number in reference.rows["FBANK"].items()}
    best = {(task, metric): anchor.best for task, metrics in reference.anchors.items() for metric, anchor in metrics.items()}
    for measured, value in ((baseline, 0.0), (best, 1000.0)):
        score = superb_score(measured, reference.anchors)
        assert score is not None
        assert score.value == pytest.approx(value, abs=1e-9)
        assert set(score.tasks) == {"pr", "asr", "ks", "ic", "sid", "er", "qbe", "sf", "asv", "sd"}


def test_two_metrics_of_one_task_count_as_one_task() -> None:
    anchors = {"a": {"x": Anchor(0, 10), "y": Anchor(100, 0)}, "b": {"z": Anchor(0, 1)}}
    score = superb_score({("a", "x"): 10, ("a", "y"): 50, ("b", "z"): 0}, anchors)
    assert score is not None
    assert score.value == pytest.approx(1000 * (0.75 + 0) / 2)


def test_a_task_with_a_metric_missing_takes_no_part() -> None:
    score = superb_score({("sf", "f1"): 90.0, ("ks", "acc"): 97.86}, load().anchors)
    assert score is not None
    assert (score.value, score.tasks) == (pytest.approx(1000.0), ("ks",))
    assert superb_score({("sf", "f1"): 90.0}, load().anchors) is None


def test_anchors_of_the_tasks_are_named() -> None:
    text = explain(load().anchors, ["sf"], "FBANK")
    assert "sf f1 69.64 → 92.25, sf slot_cer 52.94 → 17.6" in text
    assert "pr" not in text.split("Anchors")[1]
