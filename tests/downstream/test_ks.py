"""KS: classes, noises, the benchmark's sizes and quirks, what is refused, and that it can be learned."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from lhotse import CutSet
from pydantic import ValidationError

from corpus.errors import DataError
from corpus.speech_commands import KEYWORDS
from downstream.ks import BALANCED_DEV, KS, SHARED_SILENCE, TASK
from engine.task import Prediction, Setting, TaskError
from engine.yaml12 import read
from tests.corpus.make import cut, write_tone
from tests.engine import make
from tests.engine.make import Outcome

# A voice of each side, by the data set's rule.
TRAIN, DEV, TEST = "eb67fcbc", "fde2dee7", "0c40e715"
TAKES = {TRAIN: 4, DEV: 2, TEST: 1}


def speech_commands(root: Path) -> Path:
    """Both archives: three words and a noise; the test set has the third word as a word of its own and as `_unknown_`."""
    sounds = {"yes": "ABA", "no": "STS", "bed": "EHE"}
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    clips = [train / word / f"{voice}_nohash_{index}.wav" for word in sounds for voice, count in TAKES.items() for index in range(count)]
    clips += [test / word / f"{TEST}_nohash_0.wav" for word in sounds] + [test / "_unknown_" / "bed"]
    for seed, path in enumerate(clips):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path.with_suffix(".wav"), make.sound(sounds.get(path.parent.name, sounds["bed"]), seed), 16_000)
    write_tone(train / "_background_noise_" / "hum.wav", 10.0)
    write_tone(test / "_silence_" / "0.wav", 1.0)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_commands(tmp_path_factory.mktemp("data"))


def task(root: Path | None = None, setting: Setting | None = None, keywords: tuple[str, ...] = ("yes", "no"), **corpus: Any) -> KS:
    return KS(KS.Corpus(root=root, keywords=list(keywords), **corpus), KS.Head(), setting)


def mended(*kept: str) -> Setting:
    return Setting("corrected", dict.fromkeys(kept, True))


def classes(task: KS, split: str) -> Counter[str]:
    return Counter(task.reference(cut) for cut in task.cuts(split))


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is KS and KS.name == "ks"
    assert [metric.name for metric in KS.metrics] == ["acc"] and KS.metrics[0].higher_is_better
    assert (KS.train_split, KS.dev_split, KS.test_split, KS.best_checkpoint) == ("train", "dev", "test", "dev-best.ckpt")


def test_classes_and_head_have_the_published_sizes() -> None:
    """superb_tasks.md, section 16: 12 classes, 199,948 parameters for D = 768."""
    ks = task(keywords=KEYWORDS)
    assert ks.classes == "yes no up down left right on off stop go _unknown_ _silence_".split()
    assert sum(parameter.numel() for parameter in ks.build_head(768, 320).parameters()) == 199_948


@pytest.mark.parametrize("preset", ["superb", "mini"])
def test_the_recipes_name_words_and_not_booleans(preset: str) -> None:
    config = read(Path(__file__).parents[2] / "configs" / "downstream" / preset / "ks.yaml")
    assert KS.Corpus(**config["corpus"]).keywords == list(KEYWORDS)
    assert config["corpus"]["batching"] == {"method": "balanced", "batch_size": 32}


def test_every_other_word_is_unknown(root: Path) -> None:
    assert classes(task(root), "train") == {"yes": 4, "no": 4, "_unknown_": 4, "_silence_": 1}
    assert classes(task(root), "test") == {"yes": 1, "no": 1, "_unknown_": 2, "_silence_": 1}
    ks = task(root, keywords=("bed",))
    assert classes(ks, "test") == {"bed": 1, "_unknown_": 3, "_silence_": 1}
    assert [ks.label(cut) for cut in ks.cuts("test")] == [2, 1, 0, 1, 1]


def test_a_noise_gives_a_random_second_in_training(root: Path) -> None:
    ks = task(root)
    assert {ks.reference(cut): ks.crop_seconds(cut) for cut in ks.cuts("train")} == {
        "yes": None,
        "no": None,
        "_unknown_": None,
        "_silence_": 1.0,
    }


def test_seconds_of_a_noise_may_be_drawn_once(root: Path) -> None:
    ks = task(root, noise_seconds=5)
    silent = [cut for cut in ks.cuts("train") if ks.reference(cut) == "_silence_"]
    assert [cut.id for cut in silent] == [f"_background_noise_/hum#{number}" for number in range(1, 6)]
    assert all(cut.duration == 1.0 and ks.crop_seconds(cut) is None for cut in silent) and len({cut.start for cut in silent}) == 5
    assert [cut.start for cut in ks.cuts("train")] == [cut.start for cut in task(root, noise_seconds=5).cuts("train")]


def test_dev_of_superb_draws_each_class_alike_and_always_the_same() -> None:
    ks = task()
    cuts = [cut(f"yes/{index}", 1.0, text="yes") for index in range(900)]
    cuts += [cut(f"no/{index}", 1.0, text="no") for index in range(90)] + [cut("noise", 60.0, text="_silence_") for _ in range(10)]
    drawn = ks._balanced(cuts)
    assert len(drawn) == len({cut.id for cut in drawn}) == 1000
    counts = Counter(ks.reference(cut) for cut in drawn)
    assert all(counts[name] == pytest.approx(1000 / 3, abs=50) for name in ("yes", "no", "_silence_"))
    assert [cut.id for cut in drawn] == [cut.id for cut in task()._balanced(cuts)]
    repeated = [cut.id for cut in drawn if cut.id.startswith("noise")]
    assert repeated == ["noise", *(f"noise#{time}" for time in range(2, len(repeated) + 1))]


def test_dev_of_superb_hears_seconds_of_the_training_noises(root: Path) -> None:
    dev = task(root, mended("shared_silence", "balanced_dev")).cuts("dev")
    assert len(dev) == 7
    silences = [cut for cut in dev if cut.supervisions[0].text == "_silence_"]
    assert silences and all(cut.duration == 1.0 and 0 <= cut.start <= 9 for cut in silences)
    assert len({cut.start for cut in silences}) == len(silences)
    assert [(cut.id, cut.start) for cut in dev] == [(cut.id, cut.start) for cut in task(root).cuts("dev")]


def test_plain_dev_has_every_item_once(root: Path) -> None:
    dev = task(root, mended(SHARED_SILENCE.name)).cuts("dev")
    words = [f"{word}/{DEV}_nohash_{index}" for word in ("bed", "no", "yes") for index in range(2)]
    assert [cut.id for cut in dev] == [*words, "_background_noise_/hum"]
    assert all(cut.duration == 1.0 for cut in dev if cut.id.startswith("_"))


def test_corrected_silence_is_apart(root: Path) -> None:
    ks = task(root, mended())
    (learned,) = (cut for cut in ks.cuts("train") if ks.reference(cut) == "_silence_")
    held_out = [cut for cut in ks.cuts("dev") if ks.reference(cut) == "_silence_"]
    assert (learned.start, learned.end) == (0.0, 8.0)
    assert [(cut.start, cut.end) for cut in held_out] == [(8.0, 9.0), (9.0, 10.0)]


def test_each_quirk_is_a_switch_of_its_own(root: Path) -> None:
    assert {quirk.name for quirk in KS.quirks} == {"frame_rounding", "balanced_dev", "shared_silence"}
    assert len(task(root, mended(BALANCED_DEV.name)).cuts("dev")) == len(task(root, mended()).cuts("dev")) == 8


def test_a_class_without_items_is_named_once(root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.ks._named", set())
    with caplog.at_level(logging.WARNING):
        for split in ("train", "dev", "test"):
            task(root, keywords=("yes", "banana")).cuts(split)
    assert [record.message for record in caplog.records] == ["ks: nothing in train is banana"]


@pytest.mark.parametrize("keywords", [[], ["yes", "yes"], ["yes", "_silence_"], ["_unknown_"], [True]])
def test_keywords_are_distinct_words(keywords: list[Any]) -> None:
    with pytest.raises(ValidationError, match="keywords"):
        KS.Corpus(keywords=keywords)


def test_missing_data_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no speech_commands_v0\.01 in"):
        task(tmp_path).cuts("train")
    with pytest.raises(DataError, match=r"no speech_commands_test_set_v0\.01 in"):
        task(tmp_path).cuts("test")
    with pytest.raises(TaskError, match="no data folder"):
        task().cuts("dev")


def test_a_manifest_gives_words_as_text(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 3.0)
    (tmp_path / "own.tsv").write_text("path\tid\ttext\na.wav\ta\tyes\na.wav\tb\t_silence_\na.wav\tc\tmaybe\n")
    ks = task(setting=mended(), manifests={"dev": tmp_path / "own.tsv"})
    assert [(cut.id, ks.reference(cut), cut.duration) for cut in ks.cuts("dev")] == [
        ("a", "yes", 3.0),
        ("b", "_silence_", 1.0),
        ("c", "_unknown_", 3.0),
    ]
    (tmp_path / "own.tsv").write_text("path\tword\na.wav\tyes\n")
    with pytest.raises(DataError, match=r"own\.tsv, line 2: no text"):
        ks.cuts("dev")


def test_predictions_are_words_with_their_probability() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 9.0], [2.0, 2.0 + torch.log(torch.tensor(3.0)), -99.0, -99.0]])
    silence, no = task().predict(logits, ["a", "b"])
    assert (silence.utt_id, silence.prediction, no.utt_id, no.prediction) == ("a", "_silence_", "b", "no")
    assert no.scores == {"probability": pytest.approx(0.75)}


def test_loss_is_cross_entropy_over_utterances() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [50.0, 0.0, 0.0, 0.0]])
    assert float(task().loss(logits, [2, 0])) == pytest.approx(float(torch.log(torch.tensor(4.0))) / 2)


def test_scores_follow_from_saved_predictions() -> None:
    rows = [Prediction("a", "yes", "yes"), Prediction("b", "no", "_unknown_"), Prediction("c", "_silence_", "_silence_")]
    score = task().score(rows)["acc"]
    assert score.value == pytest.approx(200 / 3) and score.low <= score.value <= score.high


def test_words_can_be_learned_and_are_recognised(weir: Callable[..., Outcome], root: Path, tmp_path: Path) -> None:
    """On the shipped encoder: the pooled mean of one that learned nothing says nothing."""
    options = {
        "config.corpus.keywords": "[yes,no]",
        "config.corpus.batching.batch_size": 8,
        "config.runner.total_steps": 120,
        "config.runner.eval_step": 60,
    }
    words = ["-m", "train", "-u", "tera", "-k", "tera-mini", "-d", "ks", "--data", root, "--preset", "mini", "--device", "cpu"]
    outcome = weir(*words, "-p", tmp_path / "run", "-o", ",,".join(f"{key}={value}" for key, value in options.items()))
    assert outcome.status == 0, outcome.err
    outcome = weir("-m", "evaluate", "-e", tmp_path / "run", "--json")
    assert outcome.status == 0, outcome.err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["test"]["metrics"]["acc"]["value"] == 100.0
    outcome = weir("-m", "inference", "-e", tmp_path / "run", "-t", root / "speech_commands_v0.01" / "no" / f"{TEST}_nohash_0.wav")
    said = json.loads(outcome.out)
    assert said["prediction"] == "no" and 0.5 < said["scores"]["probability"] <= 1.0


def test_dev_is_made_of_cuts_that_lhotse_can_keep(root: Path, tmp_path: Path) -> None:
    dev = task(root).cuts("dev")
    dev.to_file(tmp_path / "dev.jsonl")
    assert [(cut.id, cut.start, cut.duration) for cut in CutSet.from_file(tmp_path / "dev.jsonl")] == [
        (cut.id, cut.start, cut.duration) for cut in dev
    ]
