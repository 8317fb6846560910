"""IC: classes in their order, three slots in one head, the benchmark's sizes, what is refused, and that it can be learned."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lhotse import CutSet

from corpus.batching import Batching
from corpus.errors import DataError
from downstream.ic import IC, TASK
from engine.task import FRAME_ROUNDING, Prediction, Setting, TaskError
from engine.yaml12 import read
from tests.corpus.make import write_tone
from tests.engine import make
from tests.engine.make import Outcome

Intent = tuple[str, str, str]
INTENTS: dict[str, Intent] = {
    "ABA BAB": ("deactivate", "lights", "kitchen"),
    "STS TST": ("bring", "juice", "none"),
    "EHE MNM": ("activate", "lights", "none"),
}


def fluent(root: Path, counts: dict[str, int], said: dict[str, Intent] = INTENTS) -> Path:
    """A folder with Fluent Speech Commands in its own layout: every sentence of `said` so many times in each list."""
    folder = root / "fluent_speech_commands_dataset"
    for name, count in counts.items():
        rows = []
        for take in range(count):
            for text, intent in said.items():
                path = Path("wavs", "speakers", name, f"{name}-{len(rows)}.wav")
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / path, make.sound(text, take), 16_000)
                rows.append([len(rows), path.as_posix(), name, text, *intent])
        (folder / "data").mkdir(exist_ok=True)
        with open(folder / "data" / f"{name}_data.csv", "w", newline="") as file:
            csv.writer(file).writerows([["", "path", "speakerId", "transcription", "action", "object", "location"], *rows])
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fluent(tmp_path_factory.mktemp("data"), {"train": 4, "valid": 2, "test": 1})


CLASSES = {"action": ["deactivate", "bring", "activate"], "object": ["lights", "juice"], "location": ["kitchen", "none"]}


def task(root: Path | None = None, classes: dict[str, list[str]] = CLASSES, **corpus: Any) -> IC:
    return IC(IC.Corpus(root=root, **corpus), IC.Head(), Setting(classes=classes))


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is IC and IC.name == "ic" and IC.quirks == (FRAME_ROUNDING,)
    assert [metric.name for metric in IC.metrics] == ["acc"] and IC.metrics[0].higher_is_better
    assert (IC.train_split, IC.dev_split, IC.test_split, IC.best_checkpoint) == ("train", "dev", "test", "dev-best.ckpt")


def test_head_has_the_published_size() -> None:
    """superb_tasks.md, section 16: 6 + 14 + 4 classes, 203,032 parameters for D = 768."""
    sizes = {"action": 6, "object": 14, "location": 4}
    head = task(classes={slot: [str(index) for index in range(size)] for slot, size in sizes.items()}).build_head(768, 320)
    assert sum(parameter.numel() for parameter in head.parameters()) == 203_032
    assert head(torch.zeros(2, 5, 768), torch.tensor([5, 3])).shape == (2, 24)


def test_the_superb_recipe_is_the_tasks_own_default() -> None:
    config = read(Path(__file__).parents[2] / "configs" / "downstream" / "superb" / "ic.yaml")
    assert IC.Corpus(**config["corpus"]) == IC.Corpus() and IC.Head(**config["head"]) == IC.Head()
    assert IC.Corpus().batching == Batching(method="random", batch_size=32)


def test_classes_stand_in_the_order_of_the_training_list(root: Path) -> None:
    assert task().find_classes(task(root).cuts("train")) == CLASSES


def test_labels_are_indices_and_references_the_three_names(root: Path) -> None:
    ic = task(root)
    cuts = list(ic.cuts("test"))
    assert [ic.label(cut) for cut in cuts] == [(0, 0, 0), (1, 1, 1), (2, 0, 1)]
    assert [ic.reference(cut) for cut in cuts] == ["deactivate,lights,kitchen", "bring,juice,none", "activate,lights,none"]


def test_splits_are_the_three_lists(root: Path) -> None:
    assert [len(task(root).cuts(split)) for split in IC.splits] == [12, 6, 3]


def test_a_class_unseen_in_training_is_named_with_its_file(root: Path) -> None:
    ic = task(root, classes=CLASSES | {"object": ["lights"]})
    with pytest.raises(DataError, match=r"test-1\.wav: the object 'juice' is not in the training data, which has lights"):
        [ic.label(cut) for cut in ic.cuts("test")]


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no fluent_speech_commands_dataset in"):
        task(tmp_path).cuts("train")
    with pytest.raises(TaskError, match="no data folder"):
        task().cuts("dev")


def test_a_manifest_gives_the_slots_as_columns(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 1.0)
    (tmp_path / "own.tsv").write_text("path\taction\tobject\tlocation\na.wav\tbring\tjuice\tnone\n")
    ic = task(manifests={"test": tmp_path / "own.tsv"})
    assert [ic.label(cut) for cut in ic.cuts("test")] == [(1, 1, 1)]
    (tmp_path / "own.tsv").write_text("path\taction\na.wav\tbring\n")
    with pytest.raises(DataError, match=r"own\.tsv, line 2: no object, location"):
        ic.cuts("test")


def test_loss_is_the_sum_over_slots_of_the_mean_over_utterances() -> None:
    logits = torch.zeros(2, 7)
    logits[1, 2] = 50.0  # the second utterance's action is certain and right
    thirds, halves = torch.log(torch.tensor(3.0)), torch.log(torch.tensor(2.0))
    assert float(task().loss(logits, [(0, 1, 0), (2, 0, 1)])) == pytest.approx(float(thirds / 2 + 2 * halves))


def test_predictions_are_the_best_of_each_slot() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0, 3.0, 2.0, 0.0, 4.0], [9.0, 1.0, 0.0, 3.0, 4.0, 5.0, 4.0]])
    assert task().predict(logits, ["a", "b"]) == [Prediction("a", "bring,lights,none"), Prediction("b", "deactivate,juice,kitchen")]


def test_an_utterance_counts_where_all_three_are_right() -> None:
    rows = [
        Prediction("a", "bring,juice,none", "bring,juice,none"),
        Prediction("b", "bring,juice,none", "bring,juice,kitchen"),
        Prediction("c", "activate,lights,none", "activate,lights,none"),
    ]
    score = task().score(rows)["acc"]
    assert score.value == pytest.approx(200 / 3) and score.low <= score.value <= score.high


def test_intents_can_be_learned_and_are_recognised(weir: Callable[..., Outcome], root: Path, tmp_path: Path) -> None:
    """On the shipped encoder: the pooled mean of one that learned nothing says nothing."""
    options = {"config.corpus.batching.batch_size": 6, "config.runner.total_steps": 80, "config.runner.eval_step": 40}
    words = ["-m", "train", "-u", "tera", "-k", "tera-mini", "-d", "ic", "--data", root, "--preset", "mini", "--device", "cpu"]
    outcome = weir(*words, "-p", tmp_path / "run", "-o", ",,".join(f"{key}={value}" for key, value in options.items()))
    assert outcome.status == 0, outcome.err
    outcome = weir("-m", "evaluate", "-e", tmp_path / "run", "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["test"]["metrics"]["acc"]["value"] == 100.0
    wav = root / "fluent_speech_commands_dataset" / "wavs" / "speakers" / "test" / "test-1.wav"
    outcome = weir("-m", "inference", "-e", tmp_path / "run", "-t", wav)  # the classes come from the checkpoint
    assert json.loads(outcome.out)["prediction"] == "bring,juice,none"


def test_cuts_can_be_kept_by_lhotse(root: Path, tmp_path: Path) -> None:
    cuts = task(root).cuts("dev")
    cuts.to_file(tmp_path / "dev.jsonl")
    assert list(CutSet.from_file(tmp_path / "dev.jsonl")) == list(cuts)
