"""The Speech Commands reader: ids and words, the rule that splits, where the archives lie, and what is refused."""

from __future__ import annotations

import hashlib
import re
import runpy
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus import speech_commands
from corpus.batch import read_cut
from corpus.errors import DataError
from tests.corpus.make import write_tone

# Voices as they stand in the published validation_list.txt and testing_list.txt.
LISTED = {
    "dev": "fde2dee7 099d52ad 66cff190 541120c7 364c0853 0ab3b47d 4abefdf5 65ec06e5 44bc77f7 62641b88 97ae8b25 1657c9fa "
    "3e2ba5f7 409c962a 41285056 c6389ab0 060cd039 471a0925 44c201dd 2e0d80f7 7c1d8533 56eb74ae a69b9b3e 439c84f4 dbaf8fc6",
    "test": "0c40e715 0ea0e2f4 42beb5eb 44715c1c f6af2457 0d53e045 ffa76c4a ffb86d3c 47d01978 283d7a53 3efef882 0fa1e7a9 "
    "e41a903b 1b4c9b89 5e3dde6b 5f814c23 adebe223 1f653d27 1093c8e7 210f3aa9 37dca74f bb05582b 97f4c236 f2e59fea fdb5155e",
}
LISTS: dict[str, speech_commands.Part] = {"validation_list.txt": "dev", "testing_list.txt": "test"}
VOICES = {"dev": "fde2dee7", "test": "0c40e715", "train": "eb67fcbc"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three voices that say two words, a noise, and a test set of three clips."""
    root, test_root = tmp_path / "speech_commands_v0.01", tmp_path / "speech_commands_test_set_v0.01"
    for word in ("yes", "bed"):
        for voice in VOICES.values():
            write_tone(root / word / f"{voice}_nohash_0.wav", 1.0)
    write_tone(root / "_background_noise_" / "tap.wav", 12.0)
    for name in ("yes/0c40e715_nohash_0.wav", "_unknown_/bed_0c40e715_nohash_0.wav", "_silence_/0.wav"):
        write_tone(test_root / name, 1.0)
    return tmp_path


def which_set(name: str) -> str:
    """The rule as the data set's README writes it."""
    share = 2**27 - 1
    number = int(hashlib.sha1(re.sub(r"_nohash_.*$", "", name).encode()).hexdigest(), 16)
    percentage = (number % (share + 1)) * (100.0 / share)
    return "validation" if percentage < 10 else "testing" if percentage < 20 else "training"


def test_the_rule_is_that_of_the_data_set() -> None:
    sides = {"validation": "dev", "testing": "test", "training": "train"}
    names = [f"{number:08x}_nohash_{number % 3}.wav" for number in range(0, 2**32, 2**22 + 7)] + ["no_voice.wav"]
    assert [speech_commands.part(name) for name in names] == [sides[which_set(name)] for name in names]
    shares = [sum(speech_commands.part(name) == side for name in names) / len(names) for side in ("dev", "test", "train")]
    assert shares == pytest.approx([0.1, 0.1, 0.8], abs=0.03)


def test_the_rule_agrees_with_the_published_lists() -> None:
    for side, voices in LISTED.items():
        assert {speech_commands.part(f"{voice}_nohash_{take}.wav") for voice in voices.split() for take in range(3)} == {side}


@pytest.mark.parametrize("side", VOICES)
def test_words_of_a_side_carry_id_word_and_voice(data: Path, side: speech_commands.Part) -> None:
    cuts = speech_commands.read(data / "speech_commands_v0.01", side)
    assert [cut.id for cut in cuts] == [f"{word}/{VOICES[side]}_nohash_0" for word in ("bed", "yes")]
    assert [cut.supervisions[0].text for cut in cuts] == ["bed", "yes"]
    assert {cut.supervisions[0].speaker for cut in cuts} == {VOICES[side]}
    assert all(len(read_cut(cut)) == 16_000 for cut in cuts)


def test_the_test_archive_is_read_by_class(data: Path) -> None:
    cuts = speech_commands.read_test(data / "speech_commands_test_set_v0.01")
    assert {cut.id: cut.supervisions[0].text for cut in cuts} == {
        "_silence_/0": "_silence_",
        "_unknown_/bed_0c40e715_nohash_0": "_unknown_",
        "yes/0c40e715_nohash_0": "yes",
    }


def test_noises_are_whole_files_and_can_be_divided(data: Path) -> None:
    (noise,) = speech_commands.noises(data / "speech_commands_v0.01")
    assert (noise.id, noise.duration, noise.supervisions[0].text) == ("_background_noise_/tap", 12.0, "_silence_")
    rest, pieces = speech_commands.divide(noise)
    assert (rest.id, rest.start, rest.duration) == (noise.id, 0.0, 10.0)
    assert [(piece.id, piece.start, piece.duration) for piece in pieces] == [
        ("_background_noise_/tap#1", 10.0, 1.0),
        ("_background_noise_/tap#2", 11.0, 1.0),
    ]
    assert all(len(read_cut(piece)) == 16_000 and piece.supervisions[0].text == "_silence_" for piece in pieces)


@pytest.mark.parametrize(("seconds", "pieces"), [(0.5, 0), (1.99, 0), (2.0, 1), (9.9, 1), (61.2345, 12)])
def test_short_noises_are_divided_as_far_as_they_go(tmp_path: Path, seconds: float, pieces: int) -> None:
    write_tone(tmp_path / "_background_noise_" / "short.wav", seconds)
    (noise,) = speech_commands.noises(tmp_path)
    rest, held_out = speech_commands.divide(noise)
    assert len(held_out) == pieces and rest.duration == pytest.approx(noise.duration - pieces)
    assert all(piece.start >= rest.end - 1e-8 and piece.end <= noise.end + 1e-8 for piece in held_out)


def test_a_file_of_another_rate_keeps_it(data: Path) -> None:
    write_tone(data / "speech_commands_v0.01" / "yes" / "eb67fcbc_nohash_1.wav", 0.75, rate=44_100, channels=2)
    cut = speech_commands.read(data / "speech_commands_v0.01", "train")["yes/eb67fcbc_nohash_1"]
    assert (cut.sampling_rate, cut.num_samples, len(read_cut(cut))) == (44_100, 33_075, 12_000)


def test_what_is_no_clip_is_left_alone(data: Path) -> None:
    root = data / "speech_commands_v0.01"
    for name in ("yes/._eb67fcbc_nohash_1.wav", ".trash/eb67fcbc_nohash_1.wav", "_old_/eb67fcbc_nohash_1.wav"):
        write_tone(root / name)
    (root / "README.md").touch()
    assert len(speech_commands.read(root, "train")) == 2


def test_both_archives_are_found_inside_beside_or_given_themselves(data: Path) -> None:
    for source in (speech_commands.SOURCE, speech_commands.TEST_SOURCE):
        for given in (data, data / "speech_commands_v0.01", data / "speech_commands_test_set_v0.01"):
            assert speech_commands.find(source, given) == data / source.folder


def test_a_relative_folder_has_its_neighbour(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data / "speech_commands_v0.01")
    assert speech_commands.find(speech_commands.TEST_SOURCE, ".") == data / "speech_commands_test_set_v0.01"


def test_each_missing_archive_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    for source in (speech_commands.SOURCE, speech_commands.TEST_SOURCE):
        with pytest.raises(DataError, match=f"no {source.folder} in {tmp_path}: .*{source.folder}.tar.gz"):
            speech_commands.find(source, tmp_path)
        with pytest.raises(DataError, match="no such folder: .*nowhere"):
            speech_commands.find(source, tmp_path / "nowhere")


def test_an_empty_split_is_an_error(data: Path) -> None:
    root = data / "speech_commands_v0.01"
    for word in ("yes", "bed"):
        (root / word / "fde2dee7_nohash_0.wav").unlink()
    with pytest.raises(DataError, match=rf"no clip of dev in {root}: expected .*\*\.wav.*speech_commands_v0\.01\.tar\.gz"):
        speech_commands.read(root, "dev")
    (data / "empty").mkdir()
    with pytest.raises(DataError, match=r"no clip in .*empty.*speech_commands_test_set_v0\.01\.tar\.gz"):
        speech_commands.read_test(data / "empty")
    assert speech_commands.noises(data / "empty") == []


@pytest.mark.parametrize("content", [b"", b"not audio at all"])
def test_a_broken_clip_is_named(data: Path, content: bytes) -> None:
    broken = data / "speech_commands_v0.01" / "yes" / "eb67fcbc_nohash_0.wav"
    broken.write_bytes(content)
    with pytest.raises(DataError, match=f"{broken} is not audio"):
        speech_commands.read(data / "speech_commands_v0.01", "train")


def test_a_clip_without_samples_is_named(data: Path) -> None:
    silent = write_tone(data / "speech_commands_v0.01" / "_background_noise_" / "tap.wav", 0.0)
    with pytest.raises(DataError, match=f"{silent} has no samples"):
        speech_commands.noises(data / "speech_commands_v0.01")


def test_lists_and_rule_agree_on_human_speech(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Six recordings of each digit and speaker, laid out as Speech Commands by the tool beside the repository."""
    path = request.config.rootpath.parent / "shared" / "tools" / "make_real_mini.py"
    if not path.exists():
        pytest.skip("no recordings of people beside the repository (../shared/tools/make_real_mini.py)")
    tool = runpy.run_path(str(path))
    takes: defaultdict[str, Any] = defaultdict(lambda: {"train": defaultdict(list), "test": defaultdict(list)})
    for audio in sorted((path.parents[1] / "data" / "fsdd").glob("*_*_[0-5].wav")):
        digit, speaker, index = audio.stem.split("_")
        takes[speaker]["test" if index < "2" else "train"][int(digit)].append(tool["load"](audio))
    if not takes:
        pytest.skip("no recordings of people beside the repository (../shared/data/fsdd)")
    tool["speech_commands"](takes, tmp_path, np.random.default_rng(0))

    root = speech_commands.find(speech_commands.SOURCE, tmp_path)
    for name, side in LISTS.items():
        assert (root / name).read_text().split() == [f"{cut.id}.wav" for cut in speech_commands.read(root, side)]
    clips = 10 * len(takes)
    assert [len(speech_commands.read(root, side)) for side in ("train", "dev", "test")] == [3 * clips, clips, 2 * clips]
    assert len(speech_commands.read_test(speech_commands.find(speech_commands.TEST_SOURCE, tmp_path))) == 2 * clips + 20
