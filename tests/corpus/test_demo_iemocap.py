"""The miniature IEMOCAP: sessions without common speakers, words without emotion, and a layout that the reader reads."""

from __future__ import annotations

import importlib.util
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from corpus import iemocap as reader
from corpus.demo import voices
from corpus.demo.editions import iemocap as edition

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return edition.make(tmp_path_factory.mktemp("cache"), edition.TINY)


def test_sessions_have_a_woman_and_a_man_whom_no_encoder_was_trained_on() -> None:
    speakers = [name for pair in edition.PAIRS for name in pair]
    assert len(set(speakers)) == 10
    held_out = {voice.variant: voice.gender for group in ("dev", "test", "dev-other", "test-other") for voice in voices.group(group)}
    assert [held_out[name] for name in speakers] == ["F", "M"] * 5


def test_every_speaker_says_every_sentence_in_every_emotion() -> None:
    said: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for turn in (turn for turns in edition.plan().values() for turn in turns):
        label = reader.MERGED.get(turn.label, turn.label)
        if label in reader.EMOTIONS:
            said[turn.utterance.voice, turn.utterance.text][label] += 1
    assert len(said) == 100
    assert all(emotions == dict.fromkeys(reader.EMOTIONS, 1) for emotions in said.values())


def test_the_reader_reads_the_miniature(tiny: Path) -> None:
    root = reader.find(tiny)
    assert root == tiny / "IEMOCAP_full_release"
    turns = [turn for turns in edition.plan(edition.TINY).values() for turn in turns]
    kept = {turn.name: reader.MERGED.get(turn.label, turn.label) for turn in turns}
    kept = {name: emotion for name, emotion in kept.items() if emotion in reader.EMOTIONS}
    cuts = reader.read(root, reader.SESSIONS)
    assert {cut.id: cut.supervisions[0].custom["emotion"] for cut in cuts} == kept
    assert len(kept) == 40 < len(turns)  # the others are left out
    assert all(root / "Session2" in Path(cut.recording.sources[0].source).parents for cut in reader.read(root, [2]))


def test_turns_follow_each_other_in_time_as_long_as_their_audio(tiny: Path) -> None:
    cuts = reader.read(reader.find(tiny), [1])
    times = []
    for path in sorted((reader.find(tiny) / "Session1" / "dialog" / "EmoEvaluation").glob("Ses01F*.txt")):
        for line in path.read_text().splitlines():
            if line.startswith("["):
                start, end = map(float, line[1 : line.index("]")].split(" - "))
                times.append((start, end))
                name = line.split("\t")[1]
                if name in cuts.ids:
                    assert end - start == pytest.approx(cuts[name].duration, abs=1e-3)
    times.sort()
    assert all(end < start for (_, end), (start, _) in zip(times, times[1:], strict=False))
