"""Which run stands in which section and row, with which marks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import downstream
from report.board import DEMO, OTHER, SUPERB, Board, Column, Row, Section, build
from report.collect import collect
from report.published import load
from tests.report.make import experiment, record, sweep


def board(folder: Path, published: bool = False) -> Board:
    return build(collect([folder])[0], load(), published)


def rows(found: Board, name: str) -> dict[str, Row]:
    sections = {section.name: section for section in found.sections}
    return {row.upstream: row for row in sections[name].rows} if name in sections else {}


def section(found: Board, name: str) -> Section:
    return next(section for section in found.sections if section.name == name)


def test_tasks_of_one_upstream_make_one_row_with_a_score(tmp_path: Path) -> None:
    experiment(tmp_path / "a", record("asr", {"wer": 6.42, "cer": 2.0}, upstream="hubert"))
    experiment(tmp_path / "b", record("sid", {"acc": 81.42}, upstream="hubert"))
    experiment(tmp_path / "c", record("asr", {"wer": 23.18, "cer": 9.0}, upstream="fbank"))
    found = rows(board(tmp_path), SUPERB)
    assert list(found) == ["fbank", "hubert"]
    assert {(column.task, column.metric): cell.value for column, cell in found["hubert"].cells.items()} == {
        ("asr", "wer"): 6.42, ("asr", "cer"): 2.0, ("sid", "acc"): 81.42,
    }  # fmt: skip
    assert found["hubert"].notes == ()
    assert found["hubert"].score is not None and found["hubert"].score.tasks == ("asr", "sid")
    assert found["fbank"].score is not None and found["fbank"].score.value == pytest.approx(0)


def test_columns_are_the_metrics_that_runs_have_in_the_order_of_the_papers(tmp_path: Path) -> None:
    for task, values in (("sid", {"acc": 1.0}), ("asr", {"wer": 1.0, "cer": 1.0}), ("ks", {"acc": 1.0})):
        experiment(tmp_path / task, record(task, values))
    columns = section(board(tmp_path, published=True), SUPERB).columns
    assert [(column.task, column.metric) for column in columns] == [("asr", "wer"), ("asr", "cer"), ("ks", "acc"), ("sid", "acc")]
    assert columns[0].unit == "%" and not columns[0].higher_is_better and columns[2].higher_is_better


def test_published_numbers_stand_below_ones_own_for_the_same_tasks(tmp_path: Path) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, upstream="hubert"))
    found = section(board(tmp_path, published=True), SUPERB).rows
    assert [row.upstream for row in found[:2]] == ["hubert", "FBANK"]
    hubert = next(row for row in found if row.upstream == "HuBERT Base")
    assert hubert.is_published and not found[0].is_published
    assert {column: (cell.value, cell.verified) for column, cell in hubert.cells.items()} == {Column("ks", "acc"): (96.30, False)}
    assert hubert.score is not None and hubert.score.tasks == ("ks",)


@pytest.mark.parametrize("preset", ["superb", "mini"])
def test_demo_runs_stand_apart_marked_and_without_score(tmp_path: Path, preset: str) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, demo=True, preset=preset))
    found = board(tmp_path)
    assert not rows(found, SUPERB) and not rows(found, OTHER)
    row = rows(found, DEMO)["fbank"]
    assert "demo" in row.notes and row.score is None
    assert ("preset mini" in row.notes) == (preset == "mini")


def test_a_real_head_evaluated_on_a_demo_corpus_is_demo(tmp_path: Path) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, entry={"demo": True}))
    assert rows(board(tmp_path), DEMO)["fbank"].notes[0] == "demo"


@pytest.mark.parametrize(
    "keys, note",
    [
        ({"preset": "mini"}, "preset mini"),
        ({"entry": {"utterances": 12}}, "ks: 12 of 3,081 test items"),
        ({"config": {"runner": {"total_steps": 20}}}, "ks: changed runner.total_steps"),
        ({"config": {"head": {"projection": 8}}, "preset": "custom"}, "ks: changed head.projection"),
        ({"args": {"upstream_trainable": True}}, "upstream trained too"),
        ({"args": {"upstream_layer_selection": 3}}, "layer 3 alone"),
        ({"args": {"upstream_feature_selection": "last_hidden_state"}}, "last hidden state alone"),
        ({"args": {"upstream_feature_normalize": True}}, "hidden states normalized"),
    ],
)
def test_what_does_not_follow_the_recipe_stands_apart_and_says_why(tmp_path: Path, keys: dict[str, Any], note: str) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, **keys))
    found = board(tmp_path)
    assert not rows(found, SUPERB)
    row = rows(found, OTHER)["fbank"]
    assert note in row.notes and row.score is None


def test_own_data_stands_apart(tmp_path: Path) -> None:
    corpus = record("ks", {"acc": 1.0})["config"]["corpus"]
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, config={"corpus": {**corpus, "manifests": {"test": "my.csv"}}}))
    assert "ks: own data" in rows(board(tmp_path), OTHER)["fbank"].notes


def test_a_learning_rate_of_ones_own_is_within_the_recipe(tmp_path: Path) -> None:
    optimizer = record("ks", {"acc": 1.0})["config"]["optimizer"]
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, config={"optimizer": {**optimizer, "lr": 0.1}}))
    assert rows(board(tmp_path), SUPERB)["fbank"].notes == ()


def test_many_changes_are_counted(tmp_path: Path) -> None:
    runner = {"total_steps": 1, "eval_step": 1, "save_step": 1, "gradient_clipping": 9.0}
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, config={"runner": runner}))
    notes = rows(board(tmp_path), OTHER)["fbank"].notes
    assert notes == ("ks: changed runner.eval_step, runner.gradient_clipping, runner.save_step and 1 more",)


def test_the_corrected_protocol_is_marked_and_has_no_score(tmp_path: Path) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 90.0}, protocol="corrected"))
    experiment(tmp_path / "b", record("ks", {"acc": 91.0}, config={"quirks": {"frame_rounding": False}}))
    experiment(tmp_path / "c", record("ks", {"acc": 92.0}, protocol="corrected", config={"quirks": {"frame_rounding": True}}))
    experiment(tmp_path / "d", record("ks", {"acc": 93.0}, config={"quirks": {"frame_rounding": True}}))
    found = section(board(tmp_path), SUPERB).rows
    assert sorted((row.notes, row.score is None) for row in found) == [
        ((), False),
        (("corrected protocol",), True),
        (("corrected protocol", "with frame_rounding"), True),
        (("without frame_rounding",), True),
    ]


def test_runs_of_one_task_under_the_same_conditions_have_a_row_each(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("two", 2.0)):
        experiment(tmp_path / name, record("ks", {"acc": value}))
    experiment(tmp_path / "speakers", record("sid", {"acc": 3.0}))
    found = rows(board(tmp_path), SUPERB)
    assert list(found) == ["fbank", "fbank: one", "fbank: two"]
    assert [column.task for column in found["fbank"].cells] == ["sid"]


def test_checkpoints_are_named_and_told_apart_by_their_weights(tmp_path: Path) -> None:
    for name, path, weights in (("a", "/x/mine/model.safetensors", "11" * 32), ("b", "/y/mine/model.safetensors", "22" * 32)):
        experiment(tmp_path / name, record("ks", {"acc": 1.0}, args={"upstream_ckpt": path}, fingerprints={"upstream": weights}))
    experiment(tmp_path / "c", record("ks", {"acc": 1.0}, args={"upstream_ckpt": "owner/name"}))
    experiment(tmp_path / "d", record("ks", {"acc": 1.0}, args={"upstream_ckpt": "/z/last.ckpt"}))
    assert list(rows(board(tmp_path), SUPERB)) == [
        "fbank (last.ckpt)", "fbank (mine) [11111111]", "fbank (mine) [22222222]", "fbank (owner/name)",
    ]  # fmt: skip


def test_asv_shows_the_clean_selection_beside_that_on_test(tmp_path: Path) -> None:
    found = record("asv", {"eer": 5.0, "mindcf": 0.4}, entry={"selection": "test"})
    found["splits"]["test-dev-selected"] = record("asv", {"eer": 6.0, "mindcf": 0.5})["splits"]["test"]
    experiment(tmp_path / "a", found)
    row = rows(board(tmp_path), SUPERB)["fbank"]
    assert row.cells[Column("asv", "eer")].value == 5.0
    assert row.cells[Column("asv", "eer", "dev-selected")].value == 6.0
    assert row.notes == ("asv: checkpoint chosen on test, as SUPERB does", f"asv: {downstream.registry.load('asv').card.departures[0]}")
    assert row.score is not None and row.score.value == pytest.approx(1000 * (5.0 - 9.56) / (3.77 - 9.56))


def test_a_run_without_its_test_split_is_left_out_with_the_remedy(tmp_path: Path) -> None:
    experiment(tmp_path / "a", record("ks", {"acc": 1.0}, split="dev"))
    found = board(tmp_path)
    assert not found.sections
    assert "a has no result of split test yet (dev alone)" in found.left_out[0] and "-m evaluate -e" in found.left_out[0]


def test_other_splits_of_librispeech_are_no_columns(tmp_path: Path) -> None:
    found = record("asr", {"wer": 1.0})
    found["splits"]["test-other"] = found["splits"]["test-clean"]
    experiment(tmp_path / "a", found)
    assert section(board(tmp_path), SUPERB).columns == (Column("asr", "wer"),)


def test_a_sweep_over_layers_says_so(tmp_path: Path) -> None:
    sweep(tmp_path / "a", "layers", "ks", ["layer0"])
    experiment(tmp_path / "a", record("ks", {"acc": 1.0}, args={"upstream_layer_selection": 0}))
    assert rows(board(tmp_path), OTHER)["fbank"].notes == ("best layer on dev",)


def test_a_task_that_is_not_installed_is_shown_all_the_same(tmp_path: Path) -> None:
    found = record("ks", {"acc": 1.0}) | {"task": "elsewhere"}
    experiment(tmp_path / "a", found)
    assert section(board(tmp_path), SUPERB).columns == (Column("elsewhere", "acc"),)
