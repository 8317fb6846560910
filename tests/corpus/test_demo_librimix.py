"""The miniature LibriMix: the published layout, turns where they are heard, speakers disjoint, the same bytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from corpus import librimix as reader
from corpus.demo.editions import librimix
from corpus.locate import locate

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return librimix.make(tmp_path_factory.mktemp("cache"), librimix.TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_reader_of_the_real_data_reads_it(tiny: Path) -> None:
    root = locate(reader.SOURCE, tiny)
    for split in librimix.TINY:
        cuts = list(reader.read(root, split.name))
        assert len(cuts) == split.mixtures
        for cut in cuts:
            info = soundfile.info(cut.recording.sources[0].source)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            assert cut.recording.sources[0].source.endswith(f"Libri2Mix/wav16k/max/{split.folder}/mix_both/{cut.id}.wav")
            assert {turn.speaker for turn in cut.supervisions} == {part.split("-")[0] for part in cut.id.split("_")}
            assert all(0 <= turn.start < turn.end <= cut.duration for turn in cut.supervisions)


def test_kaldis_lists_agree(tiny: Path) -> None:
    for split in librimix.TINY:
        lists = {
            path.name: [line.split() for line in path.read_text().splitlines()] for path in (tiny / "LibriMix-SD" / split.name).iterdir()
        }
        assert set(lists) == {"wav.scp", "rttm", "segments", "utt2spk", "spk2utt", "reco2dur"}
        speakers = dict(lists["utt2spk"])
        turns = [
            (mixture, float(start), round(float(start) + float(length), 3), name)
            for _, mixture, _, start, length, _, _, name, _ in lists["rttm"]
        ]
        assert turns == [(mixture, float(start), float(end), speakers[segment]) for segment, mixture, start, end in lists["segments"]]
        assert {segment: speaker for speaker, *segments in lists["spk2utt"] for segment in segments} == speakers
        durations = {cut.id: cut.duration for cut in reader.read(tiny / "LibriMix-SD", split.name)}
        assert {mixture: float(duration) for mixture, duration in lists["reco2dur"]} == durations


def test_turns_lie_where_speech_is(tiny: Path) -> None:
    for cut in reader.read(tiny / "LibriMix-SD", "train"):
        samples, rate = soundfile.read(cut.recording.sources[0].source)
        spoken = np.zeros(len(samples), bool)
        for turn in cut.supervisions:
            spoken[round(turn.start * rate) : round(turn.end * rate)] = True
        assert np.mean(samples[spoken] ** 2) > 20 * np.mean(samples[~spoken] ** 2)


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    assert contents(librimix.make(tmp_path, librimix.TINY)) == contents(tiny)


def test_splits_share_no_voice_and_are_not_large() -> None:
    voices = [{utterance.voice.split("+")[1] for utterance in librimix.plan(split)} for split in librimix.SPLITS]
    assert sum(map(len, voices)) == len(set.union(*voices))
    assert sum(len(librimix.plan(split)) for split in librimix.SPLITS) < 1200


def test_turns_of_the_whole_edition_overlap_and_pause() -> None:
    """What is drawn, without speaking: two to four turns, the two speakers in turn."""
    for split in librimix.SPLITS:
        mixtures: dict[str, list[str]] = {}
        for utterance in librimix.plan(split):
            _, _, mixture, name = utterance.path.split("/")
            mixtures.setdefault(mixture, []).append(name.split("-")[1].removesuffix(".wav"))
        assert len(mixtures) == split.mixtures
        for speakers in mixtures.values():
            assert 2 <= len(speakers) <= 4 and all(one != other for one, other in zip(speakers, speakers[1:], strict=False))
