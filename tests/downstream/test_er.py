"""ER: folds, the published random split, the mended one, the benchmark's sizes, what is refused, and that it can be learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from pydantic import ValidationError

from corpus import iemocap as reader
from corpus.errors import DataError
from downstream.er import ER, SHARED_DEV_SPEAKERS, TASK
from engine.task import Prediction, Setting, TaskError
from engine.yaml12 import read
from tests.corpus.make import write_tone
from tests.engine import make
from tests.engine.make import Outcome

EMOTIONS = {"neu": "ABA BAB", "exc": "STS TST", "ang": "EHE MNM", "sad": "NON IDI", "fru": "AAA"}
TURNS = 5
"""Of each emotion in a session."""


def iemocap(root: Path, emotions: dict[str, str] = EMOTIONS) -> Path:
    """A folder with IEMOCAP in its own layout: a dialog a session, each emotion with a sound of its own."""
    for session in reader.SESSIONS:
        folder, dialog = root / "IEMOCAP_full_release" / f"Session{session}", f"Ses0{session}F_impro01"
        wavs, evaluations = folder / "sentences" / "wav" / dialog, folder / "dialog" / "EmoEvaluation"
        wavs.mkdir(parents=True)
        evaluations.mkdir(parents=True)
        lines = []
        for number, (emotion, text) in enumerate(list(emotions.items()) * TURNS):
            name = f"{dialog}_F{number:03}"
            soundfile.write(wavs / f"{name}.wav", make.sound(text, 10 * session + number), 16_000)
            lines.append(f"[{number}.0000 - {number}.9000]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]\n")
        (evaluations / f"{dialog}.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return iemocap(tmp_path_factory.mktemp("data"))


CLASSES = {"emotion": ["neu", "hap", "ang", "sad"]}


def task(root: Path | None = None, setting: Setting | None = None, **corpus: Any) -> ER:
    return ER(ER.Corpus(root=root, **corpus), ER.Head(), setting or Setting(classes=CLASSES))


def sessions(er: ER, split: str) -> set[str]:
    return {cut.id[4] for cut in er.cuts(split)}


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is ER and ER.name == "er"
    assert [metric.name for metric in ER.metrics] == ["acc"] and ER.metrics[0].higher_is_better
    assert (ER.train_split, ER.dev_split, ER.test_split, ER.best_checkpoint) == ("train", "dev", "test", "dev-best.ckpt")
    assert ER.variants == ("fold1", "fold2", "fold3", "fold4", "fold5")
    assert [getattr(ER.Corpus(**{ER.variant_key: fold}), ER.variant_key) for fold in ER.variants] == list(ER.variants)
    assert {quirk.name for quirk in ER.quirks} == {"frame_rounding", "shared_dev_speakers"}


def test_head_has_the_published_size() -> None:
    """superb_tasks.md, section 16: 4 classes, 197,892 parameters for D = 768."""
    assert sum(parameter.numel() for parameter in task().build_head(768, 320).parameters()) == 197_892


def test_the_superb_recipe_is_the_tasks_own_default() -> None:
    config = read(Path(__file__).parents[2] / "configs" / "downstream" / "superb" / "er.yaml")
    assert ER.Corpus(**config["corpus"]) == ER.Corpus() and ER.Head(**config["head"]) == ER.Head()
    assert ER.Corpus().batching.batch_size * config["runner"]["gradient_accumulate_steps"] == 32


def test_a_fold_tests_on_its_session(root: Path) -> None:
    for number, fold in enumerate(ER.variants, 1):
        er = task(root, test_fold=fold)
        assert sessions(er, "test") == {str(number)}
        assert str(number) not in sessions(er, "train") | sessions(er, "dev")


@pytest.mark.parametrize("bad", [{"test_fold": "fold6"}, {"valid_ratio": 0.0}, {"valid_ratio": 1.0}])
def test_folds_and_ratios_that_cannot_be_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        ER.Corpus(**bad)


def test_dev_of_superb_is_what_torchs_random_split_gives_after_seed_0(root: Path) -> None:
    er = task(root, test_fold="fold2")
    listed = list(reader.read(root / "IEMOCAP_full_release", [1, 3, 4, 5]).ids)
    training = int((1 - 0.2) * len(listed))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        train, dev = torch.utils.data.random_split(listed, [training, len(listed) - training])  # type: ignore[arg-type]
    assert (list(er.cuts("train").ids), list(er.cuts("dev").ids)) == (list(train), list(dev))
    assert len(dev) == 16 and sessions(er, "dev") <= sessions(er, "train")


def test_the_split_leaves_torchs_random_state_alone(root: Path) -> None:
    before = torch.get_rng_state()
    task(root).cuts("train")
    assert torch.equal(before, torch.get_rng_state())


def test_dev_follows_the_order_of_s3prls_list(root: Path, tmp_path: Path) -> None:
    copied = tmp_path / "IEMOCAP_full_release"
    copied.mkdir()
    for session in reader.SESSIONS:
        (copied / f"Session{session}").symlink_to(root / "IEMOCAP_full_release" / f"Session{session}")
    order = list(reader.read(copied, [2, 3, 4, 5]).ids)[::-1]
    path = copied / "meta_data" / "Session1" / "train_meta_data.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"meta_data": [{"path": f"{name}.wav"} for name in order]}))
    drawn = torch.randperm(80, generator=torch.Generator().manual_seed(0)).tolist()
    assert list(task(copied).cuts("dev").ids) == [order[index] for index in drawn[64:]]


def test_corrected_dev_has_speakers_of_its_own(root: Path) -> None:
    for fold, dev, train in (("fold1", "2", {"3", "4", "5"}), ("fold5", "1", {"2", "3", "4"})):
        for setting in (Setting("corrected"), Setting("superb", {SHARED_DEV_SPEAKERS.name: False})):
            er = task(root, setting, test_fold=fold)
            assert (sessions(er, "dev"), sessions(er, "train")) == ({dev}, train)
        kept = task(root, Setting("corrected", {SHARED_DEV_SPEAKERS.name: True}), test_fold=fold)
        assert len(kept.cuts("dev")) == 16


def test_excited_is_happy_and_other_emotions_are_left_out(root: Path) -> None:
    er = task(root)
    cuts = list(er.cuts("test"))
    assert [er.reference(cut) for cut in cuts] == ["neu", "hap", "ang", "sad"] * TURNS
    assert [er.label(cut) for cut in cuts] == [0, 1, 2, 3] * TURNS


def test_classes_are_the_benchmarks_in_its_order_and_others_behind(root: Path, tmp_path: Path) -> None:
    assert task().find_classes(task(root).cuts("train")) == CLASSES
    write_tone(tmp_path / "a.wav", 1.0)
    (tmp_path / "own.tsv").write_text("path\tid\temotion\na.wav\ta\tsur\na.wav\tb\tang\na.wav\tc\tfear\n")
    er = task(manifests={"train": tmp_path / "own.tsv"})
    assert er.find_classes(er.cuts("train")) == {"emotion": ["ang", "fear", "sur"]}
    (tmp_path / "own.tsv").write_text("path\na.wav\n")
    with pytest.raises(DataError, match=r"own\.tsv, line 2: no emotion"):
        er.cuts("train")


def test_an_emotion_unseen_in_training_is_named_with_its_file(root: Path) -> None:
    er = task(root, Setting(classes={"emotion": ["neu", "hap", "ang"]}))
    with pytest.raises(
        DataError, match=r"Ses01F_impro01_F003\.wav: the emotion 'sad' is not in the training data, which has neu, hap, ang"
    ):
        [er.label(cut) for cut in er.cuts("test")]


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no IEMOCAP_full_release in"):
        task(tmp_path).cuts("train")
    with pytest.raises(TaskError, match="no data folder"):
        task().cuts("dev")


def test_a_ratio_that_leaves_nothing_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.valid_ratio 0\.999 of 80 utterances"):
        task(root, valid_ratio=0.999).cuts("train")


def test_predictions_are_emotions_with_their_probability() -> None:
    logits = torch.tensor([[0.0, 0.0, 9.0, 0.0], [0.0, float(torch.log(torch.tensor(3.0))), -99.0, -99.0]])
    angry, happy = task().predict(logits, ["a", "b"])
    assert (angry.utt_id, angry.prediction, happy.utt_id, happy.prediction) == ("a", "ang", "b", "hap")
    assert happy.scores == {"probability": pytest.approx(0.75)}


def test_loss_is_cross_entropy_over_utterances() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [50.0, 0.0, 0.0, 0.0]])
    assert float(task().loss(logits, [2, 0])) == pytest.approx(float(torch.log(torch.tensor(4.0))) / 2)


def test_scores_follow_from_saved_predictions() -> None:
    rows = [Prediction("a", "neu", "neu"), Prediction("b", "hap", "ang"), Prediction("c", "sad", "sad")]
    score = task().score(rows)["acc"]
    assert score.value == pytest.approx(200 / 3) and score.low <= score.value <= score.high


def test_emotions_can_be_learned_on_the_fold_that_is_named(weir: Callable[..., Outcome], root: Path, tmp_path: Path) -> None:
    """On the shipped encoder: the pooled mean of one that learned nothing says nothing."""
    options = {"config.corpus.batching.batch_size": 8, "config.runner.total_steps": 80, "config.runner.eval_step": 40}
    words = ["-m", "train", "-u", "tera", "-k", "tera-mini", "-d", "er", "--data", root, "--preset", "mini", "--device", "cpu"]
    outcome = weir(*words, "-v", "fold4", "-p", tmp_path / "run", "-o", ",,".join(f"{key}={value}" for key, value in options.items()))
    assert outcome.status == 0, outcome.err
    outcome = weir("-m", "evaluate", "-e", tmp_path / "run", "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["test"]["metrics"]["acc"]["value"] == 100.0
    predicted = (tmp_path / "run" / "predictions" / "test.jsonl").read_text().splitlines()
    assert {json.loads(line)["utt_id"][:5] for line in predicted} == {"Ses04"}
