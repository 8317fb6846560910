"""What `-m extract` is asked for, and what it refuses before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.extract.folder import Features
from tests.engine.make import Outcome

Weir = Callable[..., Outcome]


@pytest.mark.parametrize(
    "words, said",
    [
        (("-d", "asr"), "-d means nothing to -m extract"),
        (("-f",), "-f means nothing"),
        (("-e", "x"), "-e means nothing"),
        (("--seed", "0"), "--seed means nothing"),
        (("--layers", "0,x"), "give all, or numbers such as 6,9,-1"),
        (("--layers", "2"), "tera has 2 hidden states, 0 to 1"),
        (("--layers", "1,-1"), "twice"),
        (("--layers", "1", "-l", "1"), "leave -l"),
        (("--what", "codes", "-l", "1"), "no layers"),
        (("--what", "codes", "--dtype", "float16"), "int64"),
        (("--shard-size", "much"), "500M"),
        (("--batch-seconds", "0"), "above 0"),
        (("-n", "x", "-p", "y"), "give one of them"),
        (("-a", "--overwrite"), "give one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(extract: Callable[..., Outcome], words: tuple[str, ...], said: str) -> None:
    outcome = extract(*words)
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("words", [("--what", "mean"), ("--format", "npy"), ("--layers", "1,2"), ("--shard-size", "1G")])
def test_flags_of_extract_are_refused_elsewhere(weir: Weir, words: tuple[str, ...]) -> None:
    outcome = weir("-m", "train", "-u", "fbank", "-d", "asr", *words)
    assert outcome.status == 2 and "-m extract" in outcome.err


def test_published_weights_are_meant_without_a_checkpoint(weir: Weir, speech: Path) -> None:
    outcome = weir("-m", "extract", "-u", "tera", "-t", speech, "-p", "features", "--device", "cpu")
    assert outcome.status == 2 and "the published checkpoint" in outcome.err


def test_hdf5_refuses_a_name_that_is_the_folder_of_another(extract: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "audio/a").mkdir(parents=True)
    for name in ("a", "a/b"):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    outcome = extract("--format", "hdf5", audio="audio")
    assert outcome.status == 2 and "a.wav would be called a, which is a folder of" in outcome.err
    assert extract("--format", "npy", audio="audio").status == 0


def test_single_file_is_called_by_its_stem_and_a_name_puts_the_folder_under_result(extract: Callable[..., Outcome], speech: Path) -> None:
    assert extract("-n", "first", audio=speech / "one/3.flac").status == 0
    assert list(Features.open("result/extract/first").entries) == ["3"]
