"""The miniature Audio SNIPS: read by the reader of the real one, same bytes each time, splits apart."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from corpus import snips as reader
from corpus.demo import voices
from corpus.demo.editions import snips

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snips.make(tmp_path_factory.mktemp("cache"), snips.TINY)


def test_the_reader_reads_what_was_planned(tiny: Path) -> None:
    planned = snips.plan(snips.TINY)
    found = {
        cut.id: cut.supervisions[0]
        for split in snips.TINY
        for cut in reader.read(tiny / "SNIPS", split.folder, list(split.readers))
    }  # fmt: skip
    assert found.keys() == {Path(line.utterance.path).stem for line in planned}
    for line in planned:
        spoken = found[Path(line.utterance.path).stem]
        assert spoken.text == line.utterance.text.upper()
        assert spoken.custom == {"slots": " ".join(line.sentence.slots), "intent": line.sentence.intent}


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    again = snips.make(tmp_path, snips.TINY)
    files = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((tiny / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_slots_are_the_39_of_snips(tiny: Path) -> None:
    names = reader.read_slots(tiny / "SNIPS")
    assert tuple(names) == snips.SLOT_NAMES and len(names) == 39
    assert len("\n".join(["O", *names])) == 478  # as many bytes as the published slots.txt has


def test_splits_have_the_real_names_and_share_neither_sentence_nor_voice() -> None:
    assert {split.folder: tuple(split.readers) for split in snips.SPLITS} == reader.SPEAKERS
    variants = [variant for split in snips.SPLITS for variant in split.readers.values()]
    assert len(set(variants)) == 16
    training = {voice.variant for voice in voices.group("train")}
    assert {split.folder for split in snips.SPLITS if training & set(split.readers.values())} == {"train"}
    sentences = [line.utterance.text for line in snips.plan()]
    assert len(sentences) == len(set(sentences)) == sum(split.per_speaker * len(split.readers) for split in snips.SPLITS)


def test_held_out_splits_use_slots_and_intents_that_are_trained() -> None:
    lines = {split.folder: [line for line in snips.plan() if f"/{split.folder}/" in line.utterance.path] for split in snips.SPLITS}
    slots = {folder: {slot for line in found for slot in line.sentence.slots} for folder, found in lines.items()}
    assert slots["test"] | slots["valid"] <= slots["train"] <= {"O", *snips.SLOT_NAMES}
    intents = {folder: {line.sentence.intent for line in found} for folder, found in lines.items()}
    assert len(intents["train"]) == 7 and intents["test"] | intents["valid"] <= intents["train"]
