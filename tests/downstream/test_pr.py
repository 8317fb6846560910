"""PR: labels through lexicons, what is read, the benchmark's sizes, and that it can be learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import editdistance
import pytest
import torch
from lhotse import CutSet

from corpus.errors import DataError
from downstream.pr import PR, TASK
from engine.task import Prediction, Setting, TaskError
from tests.corpus.make import cut, write_tone
from tests.engine import make
from tests.engine.make import Outcome


def task(root: Path | None = None, setting: Setting | None = None, **corpus: Any) -> PR:
    return PR(PR.Corpus(root=root, **corpus), PR.Head(), setting)


def write_lexicon(folder: Path, **words: str) -> Path:
    path = folder / "librispeech-lexicon.txt"
    path.write_text("".join(f"{word} {phones}\n" for word, phones in words.items()))
    return path


def spelled(text: str) -> dict[str, str]:
    """A pronunciation for each word of the test speech: a phone a letter."""
    consonants = ("B", "CH", "D", "F", "G", "HH", "K", "L", "M", "N", "P", "R")
    sounds = dict(zip(make.LETTERS, consonants, strict=True))
    return {word: " ".join(sounds[letter] for letter in word) for word in text.split()}


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is PR and PR.name == "pr"
    assert [metric.name for metric in PR.metrics] == ["per"] and not PR.metrics[0].higher_is_better
    assert (PR.dev_split, PR.test_split, PR.best_checkpoint) == ("dev-clean", "test-clean", "dev-best.ckpt")


def test_vocabulary_and_head_have_the_published_sizes() -> None:
    """superb_tasks.md, section 16: 74 symbols, 215,882 parameters for D = 768."""
    assert len(task().vocabulary) == 74
    assert sum(parameter.numel() for parameter in task().build_head(768, 320).parameters()) == 215_882


def test_labels_are_phones_and_eos(tmp_path: Path) -> None:
    write_lexicon(tmp_path, TWO="T UW1", EIGHTS="EY1 T S")
    pr, spoken = task(tmp_path), cut("u", 1.0, text="two eights")
    assert [pr.units.symbols[index] for index in pr.label(spoken)] == ["T", "UW1", "EY1", "T", "S", "<eos>"]
    assert pr.reference(spoken) == "T UW1 EY1 T S"
    assert task(tmp_path, Setting("corrected")).label(spoken) == pr.label(spoken)


def test_missing_words_of_a_split_come_in_one_error(data: Path, tmp_path: Path) -> None:
    lexicon = write_lexicon(tmp_path, ONE="W AH1 N")
    with pytest.raises(DataError, match=r"[0-9]+ words have no pronunciation .*librispeech-lexicon\.txt\): [A-Z]{3}, [A-Z]{3}, "):
        task(data, lexicons=[lexicon]).cuts("dev-clean")
    with pytest.raises(DataError, match="no pronunciation lexicon in"):
        task(data).cuts("dev-clean")


def test_splits_are_read_and_missing_ones_named(data: Path, tmp_path: Path) -> None:
    texts = " ".join(line.split(" ", 1)[1] for path in data.rglob("*.trans.txt") for line in path.read_text().splitlines())
    pr = task(data, lexicons=[write_lexicon(tmp_path, **spelled(texts))])
    assert [len(pr.cuts(split)) for split in ("train", "dev-clean", "test-clean")] == [8, 2, 2]
    with pytest.raises(DataError, match="dev-other"):
        pr.cuts("dev-other")


def test_a_manifest_and_a_lexicon_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tone(tmp_path / "a.wav")
    (tmp_path / "own.tsv").write_text("path\ttext\na.wav\tone\n")
    write_lexicon(tmp_path, ONE="W AH1 N")
    monkeypatch.chdir(tmp_path)
    pr = task(manifests={"train": "own.tsv"}, lexicons=["librispeech-lexicon.txt"])
    assert [pr.reference(one) for one in pr.cuts("train")] == ["W AH1 N"]
    assert pr.corpus.lexicons == [tmp_path / "librispeech-lexicon.txt"]  # found from other working directories too
    with pytest.raises(TaskError, match="no data folder"):
        task(manifests={"train": "own.tsv"}).cuts("train")


def test_decoding_needs_no_data() -> None:
    symbols = task().vocabulary.symbols
    path = ["<pad>", "T", "T", "<pad>", "T", "UW1", "<eos>", "<pad>"]
    logits = torch.nn.functional.one_hot(torch.tensor([[symbols.index(symbol) for symbol in path]]), 74).float()
    assert task().predict((logits, torch.tensor([8])), ["u"]) == [Prediction("u", "T T UW1")]
    assert task().predict((logits, torch.tensor([1])), ["u"]) == [Prediction("u", "")]


def test_per_sums_edits_over_utterances() -> None:
    score = task().score([Prediction("a", "T UW1", "T UW0"), Prediction("b", "W N S", "W AH1 N")])["per"]
    assert score.value == pytest.approx(100 * (1 + 2) / 5)
    assert score.low <= score.value <= score.high


@pytest.mark.parametrize("reference", ["T", "T UW1", "W AH1 N"])
def test_an_empty_hypothesis_counts_as_superb_counts_it(reference: str) -> None:
    """s3prl splits '' at spaces into one wrong token: as many edits as plain deletions, whatever the reference."""
    published = editdistance.eval("".split(" "), reference.split(" ")) / len(reference.split(" "))
    assert task().score([Prediction("a", "", reference)])["per"].value == 100 * published == 100


def test_the_order_of_windows_follows_the_number_of_phones(tmp_path: Path) -> None:
    from corpus.batching import training_batches

    write_lexicon(tmp_path, A="AH0", LONG="L AO1 NG")
    cuts = CutSet.from_cuts([cut(f"u{index}", 1.0 + index, text=text) for index, text in enumerate(["a", "long long", "long"])])
    pr = task(tmp_path, batching={"method": "windows", "batch_size": 2})
    batches = training_batches(cuts, pr.corpus.batching, 0, 0, pr.label)
    assert sorted([one.id for one in batch] for batch in batches) == [["u1", "u2"], ["u2", "u0"], ["u2", "u0"]]


def test_four_utterances_can_be_learned_by_heart(weir: Callable[..., Outcome], encoder: Path, tmp_path: Path) -> None:
    """Every part from audio to phones must work together: PER 0."""
    data = make.speech(tmp_path / "data", {"train-clean-100": ("11", 4), "dev-clean": ("11", 4)})
    texts = " ".join(line.split(" ", 1)[1] for path in data.rglob("*.trans.txt") for line in path.read_text().splitlines())
    write_lexicon(data, **spelled(texts))
    options = ",,".join(
        f"config.{key}={value}"
        for key, value in {
            "runner.total_steps": 150,
            "runner.log_step": 50,
            "runner.eval_step": 150,
            "runner.save_step": 150,
            "corpus.batching.batch_size": 4,
            "optimizer.lr": "2e-2",
        }.items()
    )
    outcome = weir(
        *("-m", "train", "-u", "tera", "-k", encoder, "-d", "pr", "--data", data, "--preset", "mini", "--device", "cpu"),
        *("-p", tmp_path / "run", "-o", options),
    )
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["dev-clean"]["metrics"]
    assert found["per"]["value"] == 0.0
