"""The LibriSpeech reader: cuts under LibriSpeech's ids, manifests that follow the folder, incomplete folders named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from corpus import librispeech
from corpus.batch import load_batch
from corpus.cache import cache_dir
from corpus.errors import DataError
from tests.corpus.make import librispeech as make
from tests.corpus.make import write_tone


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return make(tmp_path / "LibriSpeech")


def test_cuts_carry_ids_text_speaker_and_length(root):
    cuts = librispeech.read(root, "dev-clean")
    assert [cut.id for cut in cuts] == [f"{speaker}-495-000{index}" for speaker in (19, 26) for index in range(3)]
    cut = cuts["26-495-0001"]
    assert cut.supervisions[0].text == "WORD NUMBER TWO"
    assert cut.supervisions[0].speaker == "26"
    assert cut.num_samples == 4800


def test_the_cached_manifest_says_the_same(root):
    first = librispeech.read(root, "dev-clean")
    again = librispeech.read(root, "dev-clean")
    assert list(again) == list(first)
    assert len(list(cache_dir().rglob("*.jsonl.gz"))) == 1
    assert load_batch(again).wavs.shape == (6, 6400)


def test_several_splits_are_one_set(root):
    make(root, "test-clean", speakers=("61",))
    cuts = librispeech.read_all(root, ["test-clean", "dev-clean"])
    assert len(cuts) == 9
    assert next(iter(cuts)).id == "61-495-0000"
    for splits in [], ["dev-clean", "dev-clean"]:
        with pytest.raises(DataError, match="at least one, and none twice"):
            librispeech.read_all(root, splits)


def test_a_changed_folder_is_read_again(root):
    librispeech.read(root, "dev-clean")
    write_tone(root / "dev-clean/19/495/19-495-0000.flac", 1.0)
    assert librispeech.read(root, "dev-clean")["19-495-0000"].duration == 1.0
    transcript = root / "dev-clean/19/495/19-495.trans.txt"
    transcript.write_text(transcript.read_text().replace("one", "six"))
    assert librispeech.read(root, "dev-clean")["19-495-0000"].supervisions[0].text == "WORD NUMBER SIX"
    assert len(list(cache_dir().rglob("*.jsonl.gz"))) == 1


def test_a_moved_folder_points_to_its_own_audio(root, tmp_path):
    librispeech.read(root, "dev-clean")
    moved = tmp_path / "elsewhere" / "LibriSpeech"
    moved.parent.mkdir()
    root.rename(moved)
    assert load_batch(librispeech.read(moved, "dev-clean")).wavs.shape == (6, 6400)


def test_a_relative_root_works_from_another_folder(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    librispeech.read("LibriSpeech", "dev-clean")
    monkeypatch.chdir(tmp_path / "cache")
    assert load_batch(librispeech.read(os.path.relpath(root), "dev-clean")).wavs.shape == (6, 6400)


def test_unknown_and_missing_splits_are_answered(root):
    with pytest.raises(DataError, match="did you mean 'dev-clean'"):
        librispeech.read(root, "dev-claen")
    with pytest.raises(DataError, match=r"test-clean is missing\. Get test-clean\.tar\.gz from https://www\.openslr\.org/12"):
        librispeech.read(root, "test-clean")


def test_audio_and_transcripts_without_each_other_are_named(root):
    (root / "dev-clean/19/495/19-495-0001.flac").unlink()
    write_tone(root / "dev-clean/26/495/26-495-0009.flac")
    with pytest.raises(DataError, match=r"19-495-0001\.flac.*26-495-0009\.flac"):
        librispeech.read(root, "dev-clean")


def test_an_empty_split_and_an_empty_line_are_named(root):
    (root / "dev-other").mkdir()
    with pytest.raises(DataError, match=r"no \*\.flac under .*dev-other"):
        librispeech.read(root, "dev-other")
    (root / "dev-clean/19/495/19-495.trans.txt").write_text("19-495-0000\n")
    with pytest.raises(DataError, match="line 1: no words for 19-495-0000"):
        librispeech.read(root, "dev-clean")


@pytest.mark.parametrize("content", [b"", b"no flac at all"])
def test_a_damaged_file_is_named(root, content):
    (root / "dev-clean/19/495/19-495-0001.flac").write_bytes(content)
    with pytest.raises(DataError, match=r"19-495-0001\.flac: not a FLAC file"):
        librispeech.read(root, "dev-clean")


def test_importing_the_reader_loads_neither_torch_nor_lhotse(repository):
    code = "import sys, corpus, corpus.errors, corpus.cache, corpus.files, corpus.locate; print({'torch', 'lhotse'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
