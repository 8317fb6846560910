"""ASR: labels, what is read, and that it can be learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.batching import Batching
from corpus.errors import DataError
from corpus.units import CHARACTERS
from downstream.asr import ASR, TASK
from engine.task import Prediction, Setting
from tests.engine import make
from tests.engine.make import Outcome


def task(data: Path | None = None, protocol: str = "superb") -> ASR:
    corpus = ASR.Corpus(root=data, batching=Batching(batch_size=2))
    return ASR(corpus, ASR.Head(projection=8, hidden=8, layers=1), Setting(protocol))  # type: ignore[arg-type]


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is ASR and ASR.name == "asr"
    assert [metric.name for metric in ASR.metrics] == ["wer", "cer"]  # the first one selects
    assert not ASR.metrics[0].higher_is_better and ASR.metrics[0].unit == "%"
    assert (ASR.dev_split, ASR.test_split, ASR.best_checkpoint) == ("dev-clean", "test-clean", "dev-clean-best.ckpt")


def test_units_are_superbs_32_with_the_blank_first() -> None:
    """superb_tasks.md 4.2, from s3prl's asr/char.dict."""
    assert len(task().units) == 32 and CHARACTERS[0] == "<s>" and "".join(CHARACTERS[4:]) == "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"


def test_labels_end_as_the_protocol_says(data: Path) -> None:
    cut = next(iter(task(data).cuts("dev-clean")))
    words = cut.supervisions[0].text.split()
    letters = [CHARACTERS.index(letter) for letter in "|".join(words)]
    assert task(data, "superb").label(cut) == [*letters, CHARACTERS.index("|"), CHARACTERS.index("</s>")]
    assert task(data, "corrected").label(cut) == letters
    assert task().units.decode(letters) == task().reference(cut) == " ".join(words)


def test_splits_are_read_and_missing_ones_named(data: Path) -> None:
    assert [len(task(data).cuts(split)) for split in ("train", "dev-clean", "test-clean")] == [8, 2, 2]
    with pytest.raises(DataError, match="dev-other"):
        task(data).cuts("dev-other")


def test_training_splits_are_those_of_the_configuration(data: Path) -> None:
    corpus = ASR.Corpus(root=data, train=["dev-clean", "test-clean"], batching=Batching(batch_size=2))
    assert len(ASR(corpus, ASR.Head()).cuts("train")) == 4


def test_scores_follow_from_saved_predictions() -> None:
    scores = task().score([Prediction("a", "ONE TWO", "ONE TWO"), Prediction("b", "THREE", "TREE")])
    assert scores["wer"].value == pytest.approx(100 / 3)
    assert scores["cer"].value == pytest.approx(100 / 11)


def test_four_utterances_can_be_learned_by_heart(weir: Callable[..., Outcome], encoder: Path, tmp_path: Path) -> None:
    """Loss towards 0 and WER 0: every part from audio to text must work together."""
    data = make.speech(tmp_path / "data", {"train-clean-100": ("11", 4), "dev-clean": ("11", 4)})
    options = {
        "runner__total_steps": 240,
        "runner__log_step": 20,
        "runner__eval_step": 120,
        "runner__save_step": 240,
        "corpus__batching__batch_size": 4,
        "head__projection": 48,
        "head__hidden": 48,
        "head__dropout": 0,
        "head__total_rate": 640,
        "optimizer__lr": "1e-2",
        "specaug": "null",
    }
    outcome = weir(*make.train_words(tmp_path / "run", data, None, **options))
    assert outcome.status == 0, outcome.err
    assert make.lines(tmp_path / "run", "train")[-1]["loss"] < 0.05
    found = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["dev-clean"]["metrics"]
    assert found["wer"]["value"] == 0.0 and found["cer"]["value"] == 0.0
