"""SID: labels, the benchmark's sizes, what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from corpus.errors import DataError
from downstream.sid import SID, TASK
from engine.config import downstream_schema, resolve
from engine.task import Prediction, Setting
from tests.corpus.make import cut as make_cut
from tests.corpus.make import write_tone

SPEAKERS = ["id10001", "id10002", "id10003"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three speakers, the third one in the test split alone."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    root, lines = tmp_path / "VoxCeleb1", []
    for code, name in enumerate(("id10002/a/00001.wav", "id10001/b/00001.wav", "id10003/c/00001.wav"), 1):
        write_tone(root / "dev/wav" / name)
        lines += [f"{code} {name}\n", f"1 {name}\n"] if code == 2 else [f"{code} {name}\n"]
    (root / "iden_split.txt").write_text("".join(lines))
    return root


def task(root: Path | None = None, speakers: list[str] | None = None) -> SID:
    return SID(SID.Corpus(root=root), SID.Head(), Setting(classes={"speaker": speakers or []}))


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is SID and SID.name == "sid" and SID.splits == ("train", "dev", "test")
    assert SID.metrics[0].name == "acc" and SID.metrics[0].higher_is_better and SID.metrics[0].unit == "%"
    assert SID.best_checkpoint == "dev-best.ckpt"


def test_recipe_is_that_of_the_benchmark() -> None:
    """superb_tasks.md, sections 0 and 7.3."""
    config = resolve(downstream_schema(SID), Path("configs/downstream/superb/sid.yaml"), None)
    assert (config.corpus.batching.method, config.corpus.batching.batch_size) == ("random", 8)
    assert (config.runner.gradient_accumulate_steps, config.runner.total_steps, config.runner.eval_step) == (4, 200_000, 5000)
    assert (config.optimizer.name, config.optimizer.lr, config.runner.gradient_clipping) == ("Adam", 1e-4, 1.0)


def test_head_has_exactly_the_published_size() -> None:
    """518,371 for D = 768 and 1,251 speakers: superb_tasks.md, section 16."""
    with torch.device("meta"):
        head = task(speakers=[f"id{10_001 + place}" for place in range(1251)]).build_head(768, 320)
    assert sum(parameter.numel() for parameter in head.parameters()) == 518_371


def test_classes_are_the_sorted_speakers_of_the_training_list(root: Path) -> None:
    assert task(root).find_classes(task(root).cuts("train")) == {"speaker": ["id10001", "id10002"]}


def test_labels_are_places_among_the_classes_and_unseen_speakers_are_named(root: Path) -> None:
    known = task(root, ["id10001", "id10002"])
    assert [known.label(cut) for cut in known.cuts("train")] == [0, 1]
    (unseen,) = known.cuts("test")
    with pytest.raises(DataError, match=r"id10003/c/00001\.wav: the speaker 'id10003' is not in the training data"):
        known.label(unseen)


def test_long_training_utterances_are_cropped() -> None:
    assert task().crop_seconds(make_cut("a", 8.0)) is None and task().crop_seconds(make_cut("a", 8.1)) == 8.0


def test_predictions_name_the_speaker_and_loss_is_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.0, 0.0]])
    named = task(speakers=SPEAKERS)
    found = named.predict(logits, ["a", "b"])
    assert [(row.utt_id, row.prediction) for row in found] == [("a", "id10002"), ("b", "id10001")]
    assert [row.scores["probability"] for row in found] == pytest.approx(logits.softmax(1).amax(1).tolist())
    torch.testing.assert_close(named.loss(logits, [1, 2]), F.cross_entropy(logits, torch.tensor([1, 2])))


def test_scores_follow_from_saved_predictions() -> None:
    score = task().score([Prediction("a", "x", "x"), Prediction("b", "x", "y"), Prediction("c", "y", "y"), Prediction("d", "y", "y")])[
        "acc"
    ]
    assert score.value == 75.0 and score.low <= 75.0 <= score.high


def test_own_data_comes_from_manifests(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    for name, header, line in (("good.tsv", "path\tspeaker", "a.wav\tanna"), ("bad.tsv", "path\ttext", "a.wav\thello")):
        (tmp_path / name).write_text(f"{header}\n{line}\n")
    manifests = {"train": tmp_path / "good.tsv", "dev": tmp_path / "bad.tsv"}
    own = SID(SID.Corpus(manifests=manifests), SID.Head())
    assert own.find_classes(own.cuts("train")) == {"speaker": ["anna"]}
    with pytest.raises(DataError, match=r"bad\.tsv, line 2: no speaker"):
        own.cuts("dev")
