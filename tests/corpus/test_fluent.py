"""The reader of Fluent Speech Commands: published lists in their order, and every way in which they can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpus import fluent
from corpus.batch import read_cut
from corpus.errors import DataError
from corpus.locate import locate
from tests.corpus.make import streamed_flac, write_tone

HEADER = ",path,speakerId,transcription,action,object,location"
LINES = {
    "train": (
        '0,wavs/speakers/s1/a.wav,s1,"Bring me, please, the juice",bring,juice,none',
        "1,wavs/speakers/s2/b.wav,s2,Lights on,activate,lights,kitchen",
    ),
    "valid": ("0,wavs/speakers/s3/c.wav,s3,Heat up,increase,heat,none",),
    "test": ("0,wavs/speakers/s4/d.wav,s4,Heat down,decrease,heat,none",),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "fluent_speech_commands_dataset"
    for name, lines in LINES.items():
        for line in lines:
            write_tone(root / line.split(",")[1], 0.3, rate=16_000)
        write_list(root, name, *lines)
    return root


def write_list(root: Path, name: str, *lines: str, header: str = HEADER) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / f"{name}_data.csv").write_text("".join(f"{line}\n" for line in (header, *lines)))


def test_a_cut_is_a_file_with_words_speaker_and_slots(root: Path) -> None:
    cuts = fluent.read(root, "train")
    assert list(cuts.ids) == ["a", "b"]  # the order of the list
    first = cuts["a"].supervisions[0]
    assert (first.text, first.speaker) == ("Bring me, please, the juice", "s1")
    assert first.custom == {"action": "bring", "object": "juice", "location": "none"}
    assert cuts["b"].num_samples == 4800 and len(read_cut(cuts["b"])) == 4800


def test_splits_are_the_three_lists(root: Path) -> None:
    assert {split: list(fluent.read(root, split).ids) for split in fluent.LISTS} == {"train": ["a", "b"], "dev": ["c"], "test": ["d"]}


def test_other_rates_and_stereo_are_read_as_16_khz_mono(root: Path) -> None:
    write_tone(root / "wavs/speakers/s3/c.wav", 0.5, rate=44_100, channels=2)
    assert read_cut(fluent.read(root, "dev")["c"]).shape == (8000,)


def test_the_folder_is_found_by_its_published_name_or_given_itself(root: Path) -> None:
    assert locate(fluent.SOURCE, root.parent) == locate(fluent.SOURCE, root) == root
    with pytest.raises(DataError, match=r"no fluent_speech_commands_dataset in .*fluent\.ai"):
        locate(fluent.SOURCE, root / "wavs")


def no_list(root: Path) -> None:
    (root / "data" / "test_data.csv").unlink()


def empty_list(root: Path) -> None:
    write_list(root, "test")


def no_column(root: Path) -> None:
    write_list(root, "test", "wavs/speakers/s4/d.wav,decrease", header="path,action")


def empty_cell(root: Path) -> None:
    write_list(root, "test", "0,wavs/speakers/s4/d.wav,s4,Heat down,decrease,,none")


def short_line(root: Path) -> None:
    write_list(root, "test", "0,wavs/speakers/s4/d.wav,s4")


def listed_twice(root: Path) -> None:
    write_list(root, "test", *LINES["test"] * 2)


def no_file(root: Path) -> None:
    (root / "wavs/speakers/s4/d.wav").unlink()


def no_audio(root: Path) -> None:
    (root / "wavs/speakers/s4/d.wav").write_bytes(b"no audio at all")


def no_samples(root: Path) -> None:
    write_tone(root / "wavs/speakers/s4/d.wav", 0.0)


def no_length(root: Path) -> None:
    streamed_flac(write_tone(root / "wavs/speakers/s4/d.flac"))
    write_list(root, "test", LINES["test"][0].replace(".wav", ".flac"))


@pytest.mark.parametrize(
    "harm, message",
    [
        (no_list, r"no list .*test_data\.csv"),
        (empty_list, r"test_data\.csv lists no utterance"),
        (no_column, r"test_data\.csv, line 1: no column speakerId, transcription, object, location"),
        (empty_cell, r"test_data\.csv, line 2: no object"),
        (short_line, r"test_data\.csv, line 2: no transcription, action, object, location"),
        (listed_twice, r"test_data\.csv, line 3: d stands in line 2 already"),
        (no_file, r"test_data\.csv, line 2: no such audio file: .*s4/d\.wav"),
        (no_audio, r"test_data\.csv, line 2: .*s4/d\.wav is not audio"),
        (no_samples, r"test_data\.csv, line 2: .*s4/d\.wav has no samples"),
        (no_length, r"test_data\.csv, line 2: the header of .*s4/d\.flac does not say how long it is"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(root: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(root)
    with pytest.raises(DataError, match=message):
        fluent.read(root, "test")
    assert len(fluent.read(root, "train")) == 2  # other splits are none the worse
