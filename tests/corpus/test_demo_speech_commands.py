"""The miniature Speech Commands: read by the reader of the real one, same bytes each time, voices apart, lists and rule agreed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from corpus import speech_commands as reader
from corpus.demo import voices
from corpus.demo.editions import speech_commands

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")

SIDES: tuple[reader.Part, ...] = ("train", "dev", "test")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_commands.make(tmp_path_factory.mktemp("cache"), speech_commands.TINY)


def test_the_reader_reads_what_was_planned(tiny: Path) -> None:
    root = reader.find(reader.SOURCE, tiny)
    planned = {Path(utterance.path).with_suffix("").as_posix(): utterance.text for utterance in speech_commands.plan(speech_commands.TINY)}
    found = {f"{root.name}/{cut.id}": cut.supervisions[0].text for side in SIDES for cut in reader.read(root, side)}
    assert found == planned
    assert [len(reader.read(root, side)) for side in SIDES] == [28, 14, 14]


def test_lists_and_rule_agree(tiny: Path) -> None:
    root = reader.find(reader.SOURCE, tiny)
    for name, side in (("validation_list.txt", "dev"), ("testing_list.txt", "test")):
        assert (root / name).read_text().split() == [f"{cut.id}.wav" for cut in reader.read(root, side)]  # type: ignore[arg-type]


def test_the_test_archive_holds_the_testing_clips_by_class(tiny: Path) -> None:
    clips = {cut.id: cut for cut in reader.read_test(reader.find(reader.TEST_SOURCE, tiny))}
    for cut in reader.read(reader.find(reader.SOURCE, tiny), "test"):
        word, name = cut.id.split("/")
        copy = clips.pop(cut.id if word in reader.KEYWORDS else f"_unknown_/{word}_{name}")
        assert Path(copy.recording.sources[0].source).read_bytes() == Path(cut.recording.sources[0].source).read_bytes()
    assert {cut.supervisions[0].text for cut in clips.values()} == {"_silence_"} and len(clips) == 16


def test_every_clip_is_a_second_with_a_word_in_it(tiny: Path) -> None:
    for path in tiny.glob("*/*/*.wav"):
        info = soundfile.info(path)
        seconds = 12 if path.parent.name == reader.NOISES else 1
        assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", 16_000 * seconds)
        samples, _ = soundfile.read(path)
        assert np.abs(samples).max() < 1.0 and np.abs(samples).max() > (0.003 if path.parent.name in ("_silence_", reader.NOISES) else 0.05)


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    again = speech_commands.make(tmp_path, speech_commands.TINY)
    files = sorted(path.relative_to(tiny) for path in tiny.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((tiny / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_each_side_has_voices_of_its_own_group_and_all_words() -> None:
    said = speech_commands.plan()
    for side in speech_commands.SIDES:
        own = [utterance for utterance in said if reader.part(Path(utterance.path).name) == side.part]
        assert {utterance.voice for utterance in own} == {voice.name for voice in voices.group(side.group)}
        assert {utterance.text for utterance in own} == {*reader.KEYWORDS, *speech_commands.OTHER_WORDS}
    assert len({utterance.path for utterance in said}) == len(said) == 1078
