"""SF: marked labels, the quirk of skipped words, what is read, and the benchmark's sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lhotse.cut import MonoCut

from corpus.errors import DataError
from downstream.sf import SF, SKIPPED_WORDS, TASK
from engine.task import Prediction, Setting
from tests.corpus.make import cut, write_tone

SLOTS = {"slot": ["artist", "genre"]}


def task(root: Path | None = None, setting: Setting | None = None, **corpus: Any) -> SF:
    return SF(SF.Corpus(root=root, **corpus), SF.Head(), setting or Setting(classes=SLOTS))


def spoken(text: str, slots: str) -> MonoCut:
    made = cut("u", 1.0, text=text)
    made.supervisions[0].custom = {"slots": slots}
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two voices a folder, one of them not the split's."""
    lines = []
    for folder in ("train", "valid", "test"):
        for speaker in ("Ivy", "Amy"):
            utt_id = f"{speaker}-snips-{folder}-0"
            write_tone(tmp_path / "SNIPS" / folder / f"{utt_id}.wav")
            lines.append(f"{utt_id} BOS PLAY JAZZ EOS\tO O genre PlayMusic\n")
    (tmp_path / "SNIPS" / "all.iob.snips.txt").write_text("".join(lines))
    (tmp_path / "SNIPS" / "slots.txt").write_text("O\ngenre\nartist")
    return tmp_path


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is SF and SF.name == "sf"
    assert [(metric.name, metric.higher_is_better) for metric in SF.metrics] == [("f1", True), ("slot_cer", False)]
    assert (SF.dev_split, SF.test_split, SF.best_checkpoint) == ("dev", "test", "dev-best.ckpt")


def test_vocabulary_and_head_have_the_published_sizes() -> None:
    """superb_tasks.md, section 16: 109 symbols with 39 slots, 42,986,605 parameters for D = 768."""
    sf = task(setting=Setting(classes={"slot": [f"slot{index}" for index in range(39)]}))
    assert len(sf.units) == 109
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in sf.build_head(768, 320).parameters()) == 42_986_605


def test_references_are_marked_text() -> None:
    sf = task()
    assert sf.reference(spoken("play some jazz", "O O genre")) == "PLAY SOME B-genre JAZZ E-genre"
    assert sf.units.symbols[sf.label(spoken("play", "O"))[-1]] == "<eos>"


def test_a_word_of_punctuation_loses_the_end_in_superb_alone() -> None:
    utterance = spoken("play jazz .", "O genre O")
    kept, mended = task(), task(setting=Setting("corrected", classes=SLOTS))
    assert kept.label(utterance) == [*mended.label(utterance)[:-1], kept.units.symbols.index(" ")]
    switched = task(setting=Setting("corrected", {SKIPPED_WORDS.name: True}, SLOTS))
    assert switched.label(utterance) == kept.label(utterance)


def test_an_unknown_slot_and_uneven_labels_name_the_file(root: Path) -> None:
    sf = task(root, Setting(classes={"slot": ["artist"]}), test_speakers=["Ivy"])
    with pytest.raises(DataError, match=r"Ivy-snips-test-0\.wav: unknown slot 'genre'; there are artist"):
        sf.label(next(iter(sf.cuts("test"))))


def test_splits_have_the_voices_of_the_configuration(root: Path) -> None:
    sf = task(root, train_speakers=["Ivy"], dev_speakers=["Amy"], test_speakers=["Ivy", "Amy"])
    found = {split: [one.id for one in sf.cuts(split)] for split in SF.splits}
    assert found == {
        "train": ["Ivy-snips-train-0"],
        "dev": ["Amy-snips-valid-0"],
        "test": ["Amy-snips-test-0", "Ivy-snips-test-0"],
    }
    with pytest.raises(DataError, match=r"no \.wav of Joanna, Joey, Justin, Kendra, Kimberly and 2 more under .*train"):
        task(root).cuts("train")


def test_slots_come_in_the_order_of_the_list(root: Path) -> None:
    sf = task(root, train_speakers=["Ivy"])
    assert sf.find_classes(sf.cuts("train")) == {"slot": ["genre", "artist"]}


def test_a_manifest_brings_its_own_slots(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav")
    (tmp_path / "own.tsv").write_text(
        "path\tid\ttext\tslots\na.wav\ta\tfly to new york\tO O city city\na.wav\tb\tgo now\tO time\na.wav\tc\tgo now\ttime\n"
    )
    sf = task(manifests={"train": tmp_path / "own.tsv"})
    cuts = sf.cuts("train")
    classes = sf.find_classes(cuts)
    assert classes == {"slot": ["city", "time"]}
    sf = task(setting=Setting(classes=classes))
    assert sf.reference(cuts["a"]) == "FLY TO B-city NEW YORK E-city"
    with pytest.raises(DataError, match=r"a\.wav: 2 words but 1 slots"):
        sf.label(cuts["c"])


def test_decoding_gives_marked_text() -> None:
    sf = task()
    path = ["A", "A", "<pad>", "A", " ", "B-genre", "<unk>", "E-genre", "<eos>"]
    ids = torch.tensor([[sf.units.symbols.index(symbol) for symbol in path]])
    logits = torch.nn.functional.one_hot(ids, len(sf.units)).float()
    assert sf.predict((logits, torch.tensor([9])), ["u"]) == [Prediction("u", "AA B-genre <unk> E-genre")]


def test_scores_follow_from_saved_predictions() -> None:
    scores = task().score([Prediction("u", "PLAY B-genre JAZ E-genre", "PLAY B-genre JAZZ E-genre B-artist U E-artist")])
    assert scores["f1"].value == pytest.approx(100 * 2 / 3)
    assert scores["slot_cer"].value == pytest.approx(100 * 2 / 5)
