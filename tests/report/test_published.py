"""The data files of published numbers and learning rates."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
import downstream
from engine import yaml12
from report.published import load

REFERENCE = Path(configs.__path__[0]) / "reference"


def test_baselines_of_the_anchors_are_the_published_row() -> None:
    reference = load()
    for task, metrics in reference.anchors.items():
        for metric, anchor in metrics.items():
            assert anchor.baseline == reference.rows[reference.baseline][task, metric].value


def test_every_number_has_a_source_and_says_whether_it_is_verified() -> None:
    reference = load()
    hubert = reference.rows["HuBERT Base"]
    assert hubert["sid", "acc"].verified and hubert["sid", "acc"].value == 81.42
    assert not hubert["pr", "per"].verified
    assert all("arXiv" in number.source for row in reference.rows.values() for number in row.values())
    assert ("asr", "wer_lm") not in reference.rows["WavLM Large"]  # not reported there


def test_units_are_those_of_results() -> None:
    """mtwv is a fraction, everything else of SUPERB a percentage, as in results.json."""
    numbers = [(measure, number.value) for row in load().rows.values() for measure, number in row.items()]
    assert all(value < 1 for (task, _), value in numbers if task == "qbe")
    assert all(value > 2 for (task, metric), value in numbers if (task, metric) in [("pr", "per"), ("asr", "wer"), ("ks", "acc")])


@pytest.mark.parametrize("task", downstream.registry.names())
def test_metrics_of_the_anchors_are_those_of_the_tasks(task: str) -> None:
    known = {metric.name for metric in downstream.registry.load(task).metrics}
    assert set(load().anchors.get(task, {})) <= known


def test_learning_rates_have_a_source_each() -> None:
    rates = yaml12.read(REFERENCE / "learning_rates.yaml")
    assert rates["hubert"]["sid"]["lr"] == 0.1
    assert rates["tera2"]["pr"]["lr"] == 1e-3
    for tasks in rates.values():
        for entry in tasks.values():
            assert set(entry) == {"lr", "source"}
            assert 1e-7 <= entry["lr"] <= 1e-1
            assert entry["source"]
    assert not any("qbe" in tasks for tasks in rates.values())  # nothing trains there
