"""Finding and reading results and predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import CheckpointError, ConfigError
from engine.task import Prediction
from report.collect import collect, predictions, read
from tests.report.make import experiment, record, sweep

ROWS = [Prediction("a", "yes", "no", {"probability": 0.5}), Prediction("b", "line\u2028separator", "no")]


def test_every_result_below_a_folder_is_found_once_and_called_by_its_path(tmp_path: Path) -> None:
    experiment(tmp_path / "one", record("asr", {"wer": 1.0}))
    experiment(tmp_path / "group" / "two", record("asr", {"wer": 2.0}))
    experiment(tmp_path / ".hidden", record("asr", {"wer": 3.0}))
    runs, broken = collect([tmp_path, tmp_path / "group", tmp_path / "one"])
    assert [run.name for run in runs] == ["group/two", "one"]
    assert not broken
    assert [run.name for run in collect([tmp_path / "one"])[0]] == ["one"]


def test_members_of_a_sweep_are_not_collected_beside_it(tmp_path: Path) -> None:
    sweep(tmp_path / "all", "layers", "asr", ["layer0", "layer1"])
    experiment(tmp_path / "all", record("asr", {"wer": 1.0}))
    for member in ("layer0", "layer1"):
        experiment(tmp_path / "all" / member, record("asr", {"wer": 2.0}))
    runs, _ = collect([tmp_path])
    assert [run.name for run in runs] == ["all"]
    assert runs[0].sweep is not None and runs[0].sweep.members == ["layer0", "layer1"]


@pytest.mark.parametrize(
    "content, why",
    [("{", "broken"), ("[]", "broken"), ('{"schema": 1}', "task"), ('{"schema": 2}', "schema"), (b"\xff\xfe", "broken")],
)
def test_a_broken_result_is_named_and_the_others_are_read(tmp_path: Path, content: str | bytes, why: str) -> None:
    experiment(tmp_path / "good", record("asr", {"wer": 1.0}))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_bytes(content.encode() if isinstance(content, str) else content)
    runs, broken = collect([tmp_path])
    assert [run.name for run in runs] == ["good"]
    assert len(broken) == 1
    assert str(tmp_path / "bad" / "results.json") in broken[0] and why in broken[0]


def test_a_value_that_is_no_number_is_refused(tmp_path: Path) -> None:
    content = record("asr", {"wer": 1.0})
    content["splits"]["test-clean"]["metrics"]["wer"]["value"] = float("nan")
    experiment(tmp_path / "bad", content)
    _, broken = collect([tmp_path])
    assert "splits.test-clean.metrics.wer.value" in broken[0]


def test_nothing_to_collect_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match=r"no results\.json below .*evaluate"):
        collect([tmp_path])
    with pytest.raises(CheckpointError, match=r"results\.json"):
        read(tmp_path)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = experiment(tmp_path, record("asr", {"wer": 1.0}), ROWS)
    assert predictions(read(folder), "test-clean") == {"": ROWS}
    with pytest.raises(CheckpointError, match="no result of split dev-clean, only of test-clean"):
        predictions(read(folder), "dev-clean")


def test_predictions_of_a_sweep_are_those_of_its_members(tmp_path: Path) -> None:
    sweep(tmp_path / "layers", "layers", "asr", ["layer0", "layer1"])
    experiment(tmp_path / "layers", record("asr", {"wer": 1.0}, entry={"checkpoint": "layer1/dev-clean-best.ckpt"}))
    sweep(tmp_path / "folds", "variants", "asr", ["fold1", "fold2"])
    experiment(tmp_path / "folds", record("asr", {"wer": 1.0}))
    for place, rows in (("layers/layer0", ROWS[:1]), ("layers/layer1", ROWS), ("folds/fold1", ROWS[:1]), ("folds/fold2", ROWS[1:])):
        experiment(tmp_path / place, record("asr", {"wer": 1.0}), rows)
    assert predictions(read(tmp_path / "layers"), "test-clean") == {"": ROWS}
    assert predictions(read(tmp_path / "folds"), "test-clean") == {"fold1": ROWS[:1], "fold2": ROWS[1:]}


@pytest.mark.parametrize("line", ["{", '{"utt": 1}', json.dumps([1])])
def test_a_broken_line_of_predictions_is_named(tmp_path: Path, line: str) -> None:
    folder = experiment(tmp_path, record("asr", {"wer": 1.0}), ROWS)
    path = folder / "predictions" / "test-clean.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"test-clean\.jsonl, line 3"):
        predictions(read(folder), "test-clean")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"test-clean\.jsonl"):
        predictions(read(folder), "test-clean")
