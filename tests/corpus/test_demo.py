"""The built-in demo corpora: layout, determinism, disjoint splits, and makes that are killed."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from corpus.demo import building, lexicon, speech, text, voices
from corpus.demo.editions import librispeech, pretraining
from corpus.demo.phones import to_arpabet
from corpus.demo.speech import Utterance
from corpus.errors import DataError

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return librispeech.make(tmp_path_factory.mktemp("cache"), librispeech.TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_is_that_of_librispeech(tiny: Path) -> None:
    for split, utterances in librispeech.plan(librispeech.TINY).items():
        transcripts = {}
        for path in (tiny / "LibriSpeech" / split).glob("*/*/*.trans.txt"):
            assert path.name == f"{path.parent.parent.name}-{path.parent.name}.trans.txt"
            transcripts.update(line.split(" ", 1) for line in path.read_text().splitlines())
        assert transcripts == {Path(utterance.path).stem: utterance.text.upper() for utterance in utterances}
        for utterance in utterances:
            info = soundfile.info(tiny / utterance.path)
            assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "FLAC", "PCM_16")
            assert Path(utterance.path).stem == "-".join(Path(utterance.path).parts[2:4]) + Path(utterance.path).stem[-5:]


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    assert contents(librispeech.make(tmp_path, librispeech.TINY)) == contents(tiny)


def test_breathy_voices_do_not_depend_on_the_clock(tmp_path: Path) -> None:
    lists = [[Utterance("f2.flac", "good morning", "en-us+f2"), Utterance("sandro.flac", "good morning", "en-us+sandro")]]
    speech.speak(lists, tmp_path / "now")
    time.sleep(1.1)
    speech.speak(lists, tmp_path / "later")
    assert contents(tmp_path / "now") == contents(tmp_path / "later")


def test_every_sentence_is_spoken_at_the_rate_of_the_recipe(tiny: Path) -> None:
    for path in (tiny / "LibriSpeech").rglob("*.trans.txt"):
        for line in path.read_text().splitlines():
            utt_id, *words = line.split()
            minutes = soundfile.info(path.with_name(f"{utt_id}.flac")).duration / 60
            assert 80 < len(words) / minutes < 190


def test_phones_and_words_lie_in_order_inside_the_audio(tiny: Path) -> None:
    pronounced = {word.upper(): phones.split() for word, phones in lexicon.EVERYDAY.items()}
    for path in (tiny / "LibriSpeech").rglob("*.phones.jsonl"):
        words = dict(line.split(" ", 1) for line in Path(str(path).replace(".phones.jsonl", ".trans.txt")).read_text().splitlines())
        for line in path.read_text().splitlines():
            aligned = json.loads(line)
            phones, utt_id = aligned["phones"], aligned["utt_id"]
            assert phones[0][:2] == ["SIL", 0]
            assert phones[-1][0] == "SIL"
            assert all(start <= end for _, start, end in phones)
            assert all(end == start for (_, _, end), (_, start, _) in itertools.pairwise(phones))
            assert phones[-1][2] == pytest.approx(soundfile.info(path.with_name(f"{utt_id}.flac")).duration, abs=1e-4)
            spoken = [phone.rstrip("012") for phone, _, _ in phones if phone != "SIL"]
            expected = [phone.rstrip("012") for word in words[utt_id].split() for phone in pronounced[word]]
            shared = sum((Counter(spoken) & Counter(expected)).values())
            assert shared > 0.7 * len(expected)  # accents and weak forms differ from the lexicon


def test_lhotse_reads_the_corpus_with_its_word_alignments(tiny: Path) -> None:
    recipes = pytest.importorskip("lhotse.recipes")
    manifests = recipes.prepare_librispeech(tiny / "LibriSpeech")
    assert {split: len(manifest["recordings"]) for split, manifest in manifests.items()} == {
        "train-clean-100": 8,
        "dev-clean": 2,
        "test-clean": 2,
    }
    for supervision in manifests["train-clean-100"]["supervisions"]:
        words = supervision.alignment["word"]
        assert " ".join(item.symbol for item in words if item.symbol) == supervision.text
        assert words[-1].end == pytest.approx(supervision.duration, abs=1e-3)


def test_an_unknown_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no variant 'nope'"):
        speech.speak([[Utterance("a.flac", "good morning", "en-us+nope")]], tmp_path)


def test_an_unknown_base_voice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refuses voice 'xx-nowhere"):
        speech.speak([[Utterance("a.flac", "good morning", "xx-nowhere+ed")]], tmp_path)


def test_missing_synthesizer_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'weir\[demo\]'"):
        librispeech.make(tmp_path, librispeech.TINY)
    assert not any(tmp_path.iterdir())


def test_all_voices_of_all_groups_exist_and_are_in_one_group_alone() -> None:
    groups = [voices.group(name) for name in ("train", "dev", "test", "dev-other", "test-other")]
    everyone = [voice for group in groups for voice in group]
    speech.check_voices([voice.name for voice in everyone])
    assert len({voice.variant for voice in everyone}) == len({voice.speaker for voice in everyone}) == len(everyone) >= 60
    assert len(groups[0]) >= 40


def test_splits_share_no_sentence_and_no_voice() -> None:
    plans = librispeech.plan()
    sentences = [utterance.text for utterances in plans.values() for utterance in utterances]
    assert len(sentences) == len(set(sentences))
    readers = [{utterance.voice.split("+")[1] for utterance in utterances} for utterances in plans.values()]
    assert sum(map(len, readers)) == len(set.union(*readers))


def test_pretraining_hears_training_voices_and_no_held_out_sentence() -> None:
    plans = librispeech.plan()
    spoken = pretraining.plan()
    held_out = {utterance.text for split, utterances in plans.items() if split != "train-clean-100" for utterance in utterances}
    assert held_out == librispeech.held_out_sentences()
    assert not held_out & {utterance.text for utterance in spoken}
    assert {utterance.voice.split("+")[1] for utterance in spoken} == {voice.variant for voice in voices.group("train")}
    assert len({utterance.path for utterance in spoken}) == len(spoken)


def test_pretraining_is_made_in_the_same_layout(tmp_path: Path) -> None:
    folder = pretraining.make(tmp_path, replace(pretraining.SPLIT, per_speaker=1, speakers=2))
    assert len(list((folder / "LibriSpeech" / "train-clean-360").rglob("*.flac"))) == 6


def test_the_lexicon_covers_exactly_the_words_of_the_sentences(tiny: Path) -> None:
    lines = dict(line.split("\t") for line in (tiny / "librispeech-lexicon.txt").read_text().splitlines())
    assert set(lines) == {word.upper() for word in text.EVERYDAY.words()}
    sentences = text.EVERYDAY.draw(3000, "any")
    assert {word for sentence in sentences for word in sentence.upper().split()} == set(lines)
    for phones in lines.values():
        assert re.fullmatch(r"((AA|AE|AH|AO|AW|AY|EH|ER|EY|IH|IY|OW|OY|UH|UW)[012]( |$)|[A-Z]+( |$))+", phones)


def test_phonemes_become_arpabet() -> None:
    assert [to_arpabet(name) for name in ("'aI3", "tS", ",eI", "@", "_:", ";", "@L")] == [
        ["AY1", "ER0"],
        ["CH"],
        ["EY2"],
        ["AH0"],
        ["SIL"],
        [],
        ["AH0", "L"],
    ]


def test_draws_are_distinct_repeatable_and_bounded() -> None:
    drawn = text.EVERYDAY.draw(500, "key")
    assert drawn == text.EVERYDAY.draw(500, "key") != text.EVERYDAY.draw(500, "other key")
    assert len(set(drawn)) == 500
    assert not set(drawn) & set(text.EVERYDAY.draw(500, "key", exclude=drawn))
    with pytest.raises(ValueError, match="only 1 of 2"):
        text.Grammar(("a cat",), {}).draw(2, "key")


def test_a_killed_make_leaves_nothing_that_counts_and_is_cleaned(tmp_path: Path) -> None:
    program = "import sys, pathlib; from corpus.demo.editions import librispeech; librispeech.make(pathlib.Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    deadline = time.monotonic() + 60
    while not any(tmp_path.rglob("*.flac")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in (tmp_path / "demo").iterdir() if not path.name.startswith(".")]
    lists = [[Utterance("a.flac", "good morning", "en-us+ed")]]
    leftover = tmp_path / "demo" / f".small-{building.recipe_hash(lists)}.making-1"
    leftover.mkdir()
    made = building.build(tmp_path, "small", lists, lambda folder, spoken: None)
    assert [path.name for path in made.iterdir()] == ["a.flac"]
    assert not leftover.exists()


def test_a_make_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path, spoken: list) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        building.build(tmp_path, "small", [[Utterance("a.flac", "good morning", "en-us+ed")]], fail)
    assert all(path.suffix == ".lock" for path in (tmp_path / "demo").iterdir())


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from corpus.demo.editions import librispeech as edition;"
        "print(edition.make(pathlib.Path(sys.argv[1]), edition.TINY))"
    )
    command, environment = [sys.executable, "-c", program, str(tmp_path)], os.environ | {"PYTHONPATH": str(PROJECT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=PROJECT, env=environment, **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert sum(error.count("demo corpus librispeech: 12 utterances") for _, error in outputs) == 1
