"""The miniature VoxCeleb1: read by its own reader, nobody and no sentence on two sides."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from corpus.demo import voices
from corpus.demo.editions import voxceleb as edition
from corpus.voxceleb import VoxCeleb1, file_name, speaker_of

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEIR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield edition.make(tmp_path_factory.mktemp("demo"), edition.TINY)


def test_the_reader_of_voxceleb_reads_it(tiny: Path) -> None:
    data = VoxCeleb1(tiny / "VoxCeleb1")
    splits = {split: data.identification(split) for split in ("train", "dev", "test")}
    assert {split: len(cuts) for split, cuts in splits.items()} == {"train": 8, "dev": 8, "test": 8}
    assert len({frozenset(speaker_of(cut.id) for cut in cuts) for cuts in splits.values()}) == 1  # the same speakers
    videos = [{cut.id.rpartition("-")[0] for cut in cuts} for cuts in splits.values()]
    assert len(set.union(*videos)) == sum(map(len, videos))  # in videos of their own
    assert len(data.training()) == 24
    tested = {speaker_of(utt_id) for trial in data.trials() for utt_id in (trial.first, trial.second)}
    assert len(tested) == 2 and not tested & {speaker_of(cut.id) for cut in data.training()}


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    again = edition.make(tmp_path, edition.TINY)
    files = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((tiny / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_speakers_are_listed_as_in_the_data_set(tiny: Path) -> None:
    header, *rows = (line.split("\t") for line in (tiny / "VoxCeleb1" / "vox1_meta.csv").read_text().splitlines())
    assert header == ["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]
    assert len(rows) == 10 and {row[4] for row in rows} == {"dev", "test"} and {row[2] for row in rows} == {"m", "f"}


def test_training_voices_alone_are_trained_on() -> None:
    dev, test = edition.EDITION.dev.speakers(), edition.EDITION.test.speakers()
    training = {voice.variant for voice in voices.group("train")}
    assert {voice.variant for voice in dev} <= training and not {voice.variant for voice in test} & training
    assert len(dev) == 49 and len(test) == 21


def test_no_sentence_is_said_twice_and_videos_differ() -> None:
    said = [utterance for videos in edition.plan().values() for video in videos for utterance in video]
    assert len({utterance.text for utterance in said}) == len({utterance.path for utterance in said}) == len(said)
    names = {Path(utterance.path).parent.name for utterance in said}
    assert len(names) == 49 * edition.EDITION.dev.videos + 21 * edition.EDITION.test.videos
    assert all(len(name) == 11 and not name.startswith("-") for name in names)
    assert len({utterance.snr_db for utterance in said}) > 10


def test_trials_are_balanced_and_mixed() -> None:
    lines = edition._trials(edition.EDITION.trials, edition.plan()["test"])
    kinds = [line[0] for line in lines]
    assert kinds.count("1") == kinds.count("0") > 200 and kinds != sorted(kinds)
    first = lines[0].split()[1]
    assert file_name(first.removesuffix(".wav").replace("/", "-")) == first
