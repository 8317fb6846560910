"""Commands that are more than one run: folds, layers, every checkpoint on test, tasks without training; and what declares them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import experiment, rates, sweep
from engine.errors import CheckpointError
from tests.engine import make, toy

Run = Callable[..., make.Outcome]


def train(run: Run, task: str, *more: object) -> make.Outcome:
    outcome = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", task, "-n", "toy", *more)
    assert outcome.status == 0, outcome.err
    return outcome


def results(folder: str = "result/downstream/toy") -> dict[str, Any]:
    return json.loads(Path(folder, "results.json").read_text())


def test_all_folds_train_and_their_mean_stands_in_the_folder(run: Run) -> None:
    train(run, "toy", "-v", "all")
    assert run("-m", "evaluate", "-e", "result/downstream/toy").status == 0
    parts = [results(f"result/downstream/toy/{name}")["splits"] for name in ("first", "second")]
    whole = results()["splits"]
    for split in ("dev", "test"):
        values = [part[split]["metrics"]["acc"]["value"] for part in parts]
        found = whole[split]["metrics"]["acc"]
        assert found["value"] == pytest.approx(sum(values) / 2)
        assert found["low"] <= found["value"] <= found["high"]
        assert whole[split]["utterances"] == 4
    assert results("result/downstream/toy/second")["config"]["corpus"]["half"] == "second"


def test_sweep_goes_on_and_is_not_overwritten_unasked(run: Run) -> None:
    train(run, "toy", "-v", "all")
    refused = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "-n", "toy", "-v", "all")
    assert refused.status == 2 and "-a" in refused.err and "--overwrite" in refused.err
    assert "finished" in train(run, "toy", "-v", "all", "-a").err
    unknown = run("-m", "evaluate", "-e", "result/downstream/toy", "-t", "nowhere")
    assert unknown.status == 2 and "nowhere" in unknown.err
    single = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "-n", "toy", "-a")
    assert single.status == 2 and "-v all" in single.err
    Path("result/downstream/toy/second/results.json").unlink()
    with pytest.raises(CheckpointError, match="second have no results of split dev"):
        sweep.combine(Path("result/downstream/toy"), toy.Toy, ["dev"])


def test_overwritten_sweep_leaves_nothing_of_the_one_before(run: Run) -> None:
    train(run, "toy", "-v", "all")
    assert run("-m", "evaluate", "-e", "result/downstream/toy").status == 0
    assert set(results()["splits"]) == {"dev", "test"}
    assert run("-m", "train", "-u", "fbank", "-d", "toy", "-n", "toy", "-v", "all", "--overwrite").status == 0
    assert results()["upstream"] == "fbank" and set(results()["splits"]) == {"dev"}
    assert run("-m", "train", "-u", "fbank", "-d", "toy", "-n", "toy", "--overwrite").status == 0
    assert not Path("result/downstream/toy/first").exists() and not Path("result/downstream/toy/sweep.json").exists()


@pytest.mark.parametrize("member", ["..", "", ".", "../other", "/", "a/b"])
def test_overwriting_removes_nothing_outside_the_sweep(tmp_path: Path, member: str) -> None:
    folder, kept = tmp_path / "sweep", tmp_path / "other" / "kept.txt"
    folder.mkdir()
    kept.parent.mkdir()
    kept.write_text("kept")
    (folder / "sweep.json").write_text(json.dumps({"kind": "variants", "task": "toy", "members": [member]}))
    with pytest.raises(CheckpointError, match="no name of a sub-folder"):
        experiment.prepare(folder, overwrite=True, resume=False)
    assert kept.exists() and (folder / "sweep.json").exists()


def test_sweep_is_found_by_its_default_name_and_by_its_parts(run: Run) -> None:
    words = ("-u", "fbank", "-d", "toy")
    assert run("-m", "train", *words, "-v", "all").status == 0
    assert run("-m", "evaluate", *words, "-v", "all").status == 0
    assert set(results("result/downstream/toy-fbank")["splits"]) == {"dev", "test"}
    assert run("-m", "evaluate", "-e", "result/downstream/toy-fbank", "-v", "second", "-t", "dev").status == 0
    other = run("-m", "evaluate", "-e", "result/downstream/toy-fbank", "-u", "tera", "-k", "ENCODER")
    assert other.status == 2 and "fbank" in other.err
    used = run("-m", "inference", "-e", "result/downstream/toy-fbank", "-t", "x.wav")
    assert used.status == 2 and "toy-fbank/first" in used.err


def test_layers_need_dev(run: Run) -> None:
    refused = run("-m", "train", "-u", "fbank", "-d", "toy", "--layers", "all", "-o", "config.runner.eval_dataloaders=[]")
    assert refused.status == 2 and "dev" in refused.err and not Path("result").exists()


def test_what_is_scored_otherwise_does_not_replace_a_result(run: Run) -> None:
    train(run, "toy")
    for change in ("config.protocol=corrected", "config.quirks.shouted=false"):
        refused = run("-m", "evaluate", "-e", "result/downstream/toy", "-o", change)
        assert refused.status == 2 and "-p" in refused.err, refused.err
    assert run("-m", "evaluate", "-e", "result/downstream/toy", "-o", "config.protocol=corrected", "-p", "elsewhere").status == 0
    assert results("elsewhere")["protocol"] == "corrected"
    fold = run("-m", "evaluate", "-e", "result/downstream/toy", "-o", "config.corpus.half=second")
    assert fold.status == 2 and "second" in fold.err and "first" in fold.err


def test_one_head_for_each_layer_with_a_picture(run: Run) -> None:
    train(run, "toy", "--layers", "all")
    outcome = run("-m", "evaluate", "-n", "toy", "-u", "tera", "-k", "ENCODER", "-d", "toy", "--json")
    entry = json.loads(outcome.out)["splits"]["test"]
    found = json.loads(Path("result/downstream/toy/layers.json").read_text())
    assert set(found["values"]) == {"dev", "test"} and len(found["values"]["dev"]) == 2
    best = max(range(2), key=lambda layer: found["values"]["dev"][layer])
    assert entry["checkpoint"] == f"layer{best}/dev-best.ckpt"
    assert entry["metrics"]["acc"]["value"] == found["values"]["test"][best]
    assert Path("result/downstream/toy/layers.png").read_bytes().startswith(b"\x89PNG")


def test_a_variant_is_one_run_and_must_be_known(run: Run) -> None:
    train(run, "toy", "-v", "second")
    assert results()["config"]["corpus"]["half"] == "second"
    unknown = run("-m", "train", "-u", "fbank", "-d", "toy", "-v", "third", "-n", "x")
    assert unknown.status == 2 and "third" in unknown.err and "second" in unknown.err
    other = run("-m", "evaluate", "-e", "result/downstream/toy", "-v", "first")
    assert other.status == 2 and "second" in other.err


def test_learned_layer_weights_are_drawn(run: Run) -> None:
    train(run, "toy")
    assert Path("result/downstream/toy/layer_weights.png").read_bytes().startswith(b"\x89PNG")


def test_every_checkpoint_is_judged_on_test_where_the_benchmark_does_so(run: Run) -> None:
    train(run, "toytest")
    outcome = run("-m", "evaluate", "-e", "result/downstream/toy")
    assert outcome.status == 0, outcome.err
    splits = results()["splits"]
    assert splits["test"]["selection"] == "test" and splits["test"]["checkpoint"].startswith("states-")
    assert splits["test-dev-selected"]["selection"] == "dev" and splits["test-dev-selected"]["checkpoint"] == "dev-best.ckpt"
    assert splits["test"]["metrics"]["acc"]["value"] >= splits["test-dev-selected"]["metrics"]["acc"]["value"]
    one = run("-m", "evaluate", "-e", "result/downstream/toy/states-2.ckpt")
    assert one.status == 0 and results()["splits"]["test"]["checkpoint"] == "states-2.ckpt"
    for states in Path("result/downstream/toy").glob("states-*.ckpt"):
        states.unlink()
    kept = run("-m", "evaluate", "-e", "result/downstream/toy")
    assert kept.status == 0 and "test is left out" in kept.err and "test-dev-selected" in kept.out


def test_a_split_that_the_data_cannot_give_is_left_out_with_a_line(run: Run) -> None:
    outcome = train(run, "toytest", "-o", "config.corpus.half=none")
    assert "the second half has no dev" in outcome.err
    evaluated = run("-m", "evaluate", "-e", "result/downstream/toy")
    assert evaluated.status == 0 and "test-dev-selected is left out" in evaluated.err
    refused = run("-m", "evaluate", "-e", "result/downstream/toy", "-t", "dev")
    assert refused.status == 2 and "no dev" in refused.err


def test_classes_stand_in_the_checkpoint(run: Run) -> None:
    train(run, "toy")
    state = torch.load("result/downstream/toy/states-6.ckpt", weights_only=True)
    assert state["Classes"] == {"letter": list(make.LETTERS)}


def test_crops_train_beside_the_store_and_resume_bit_for_bit(run: Run) -> None:
    train(run, "toy", "-o", "config.corpus.seconds=1.3")
    whole = torch.load("result/downstream/toy/states-6.ckpt", weights_only=True)
    again = run("-m", "train", "-e", "result/downstream/toy/states-4.ckpt", "-p", "again")
    assert again.status == 0, again.err
    resumed = torch.load("again/states-6.ckpt", weights_only=True)
    for name, tensor in whole["Downstream"].items():
        assert torch.equal(tensor, resumed["Downstream"][name])


def test_published_rate_is_taken_in_the_benchmarks_recipe_and_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "recommended", lambda upstream, task: rates.Rate(0.5, f"a paper on {upstream} and {task}"))
    words = ("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "-n", "toy", "--overwrite")
    assert "a paper on tera and toy" in run(*words).err
    assert results()["config"]["optimizer"]["lr"] == 0.5
    whole = ("-o", "config.optimizer={name: SGD, lr: 0.125}")
    for more, lr in ((("-o", "config.optimizer.lr=0.25"), 0.25), (whole, 0.125), (("--preset", "mini"), 0.01), (("-f",), 0.01)):
        assert "a paper" not in run(*words, *more).err
        assert results()["config"]["optimizer"]["lr"] == lr


def test_a_quirk_is_a_switch_of_its_own(run: Run) -> None:
    train(run, "toy", "-o", "config.quirks.shouted=false")
    assert results()["config"]["quirks"] == {"shouted": False}
    unknown = run("-m", "train", "-u", "fbank", "-d", "toy", "-n", "x", "-o", "config.quirks.shoutet=false")
    assert unknown.status == 2 and "'shouted'" in unknown.err


def test_search_without_training_takes_the_layer_that_is_best_on_dev(run: Run) -> None:
    outcome = run("-m", "evaluate", "-u", "tera", "-k", "ENCODER", "-d", "toysearch", "-n", "toy")
    assert outcome.status == 0, outcome.err
    found = json.loads(Path("result/downstream/toy/layers.json").read_text())["values"]
    best = max(range(2), key=lambda layer: found["dev"][layer])
    splits = results()["splits"]
    assert splits["test"]["checkpoint"] == f"layer {best}" and splits["test"]["selection"] == "dev"
    assert splits["test"]["metrics"]["acc"]["value"] == found["test"][best]
    rows = Path("result/downstream/toy/predictions/test.jsonl").read_text().splitlines()
    assert len(rows) == splits["test"]["utterances"] == 2
    again = run("-m", "evaluate", "-u", "tera", "-k", "ENCODER", "-d", "toysearch", "-n", "toy", "-l", "1")
    assert again.status == 0 and results()["splits"]["test"]["checkpoint"] == "layer 1"
    beyond = run("-m", "evaluate", "-u", "tera", "-k", "ENCODER", "-d", "toysearch", "-n", "toy", "-l", "12")
    assert beyond.status == 2 and "layer 12" in beyond.err
    train(run, "toy", "--overwrite")
    taken = run("-m", "evaluate", "-u", "tera", "-k", "ENCODER", "-d", "toysearch", "-n", "toy")
    assert taken.status == 2 and "toy" in taken.err


def test_training_a_task_without_training_names_the_command(run: Run) -> None:
    outcome = run("-m", "train", "-u", "tera", "-d", "toysearch", "-n", "toy")
    assert outcome.status == 2 and "-m evaluate -u tera -d toysearch" in outcome.err
