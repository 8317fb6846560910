"""`results.json` and the printed table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import results
from engine.errors import CheckpointError
from engine.task import Metric, Score


def test_second_split_is_added_and_the_same_one_replaced(tmp_path: Path) -> None:
    for split, value in (("dev", 1), ("test", 2), ("dev", 3)):
        results.update(tmp_path, {"task": "asr"}, split, {"value": value})
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "schema": 1,
        "task": "asr",
        "splits": {"dev": {"value": 3}, "test": {"value": 2}},
    }


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_broken_record_is_named_and_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"results\.json"):
        results.update(tmp_path, {}, "dev", {})
    assert (tmp_path / "results.json").read_text() == text


def test_metrics_are_entered_with_unit_and_direction_in_the_tasks_order() -> None:
    metrics = (Metric("wer"), Metric("mtwv", unit="", higher_is_better=True), Metric("cer"))
    found = results.metric_entries(metrics, {"mtwv": Score(0.2, lambda: (0.1, 0.3)), "wer": Score(9.0, lambda: (8.0, 10.0))})
    assert list(found) == ["wer", "mtwv"]
    assert found["mtwv"] == {"value": 0.2, "low": 0.1, "high": 0.3, "unit": "", "higher_is_better": True}


def test_table_aligns_its_columns() -> None:
    text = results.table([["split", "value"], ["dev-clean", "1"], ["x", "100.00 %"]])
    assert text.splitlines() == ["split         value", "---------  --------", "dev-clean         1", "x          100.00 %"]
