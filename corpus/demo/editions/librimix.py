"""Miniature LibriMix: two eSpeak NG voices in turns that overlap or leave a pause, in the layout of SUPERB's diarization data.

Below the folder made: `Libri2Mix/wav16k/max/{train-100,dev,test}/mix_both/` with the mixtures, and
`LibriMix-SD/{train,dev,test}/` with Kaldi's lists: `wav.scp`, `rttm`, `segments`, `utt2spk`, `spk2utt`, `reco2dur`.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from corpus.demo import building, text, voices
from corpus.demo.editions.librispeech import write_lines
from corpus.demo.speech import SAMPLE_RATE, Spoken, Utterance

_KEY = "miniature librimix 1"
# Single turns, until they are mixed. The name is part of the recipe: a new number makes the corpus again.
_TURNS = "turns-1"
# Utterances for one speaking process, all turns of some mixtures.
_LIST_SIZE = 60
# Seconds between words from which on they are two segments, as in the alignments behind the published lists.
_PAUSE = 0.25


@dataclass(frozen=True)
class Split:
    """One split: `mixtures` of two voices each, out of these groups.

    `folder` is LibriMix's own name. `turns`: of both speakers together, they take turns.
    """

    name: str
    folder: str
    groups: tuple[str, ...]
    mixtures: int
    turns: tuple[int, int] = (2, 4)


SPLITS = (
    Split("test", "test", ("test", "test-other"), 25),
    Split("dev", "dev", ("dev", "dev-other"), 25),
    Split("train", "train-100", ("train",), 280),
)
# The same in a second, for tests.
TINY = (Split("test", "test", ("test",), 2), Split("dev", "dev", ("dev",), 2), Split("train", "train-100", ("train",), 3))


@dataclass(frozen=True)
class Mixed:
    """A mixture: samples (T,) and its segments (speaker, start, end) in seconds."""

    mixture_id: str
    samples: np.ndarray
    segments: list[tuple[str, float, float]]


def make(cache: Path, splits: Sequence[Split] = SPLITS) -> Path:
    """The folder that holds `LibriMix-SD/` and `Libri2Mix/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    lists = [chunk for split in splits for chunk in building.chunks(plan(split), _LIST_SIZE)]

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        for split in splits:
            write_split(folder, split, [said for said in spoken if said.utterance.path.startswith(f"{_TURNS}/{split.name}/")])
        shutil.rmtree(folder / _TURNS)

    return building.build(cache, "librimix", lists, finish)


def plan(split: Split) -> list[Utterance]:
    """The turns of a split, mixture by mixture in order of time; a turn's folders name its mixture and its speaker."""
    generator = random.Random(f"{_KEY} {split.name}")
    readers = [voice for group in split.groups for voice in voices.group(group)]
    sentences = iter(text.EVERYDAY.draw(split.mixtures * split.turns[1], f"{_KEY} {split.name} sentences"))
    utterances = []
    for index in range(split.mixtures):
        pair = generator.sample(readers, 2)
        mixture_id = "_".join(f"{voice.speaker}-{voice.speaker}01-{index:04}" for voice in pair)
        pitches, rates = [generator.randint(40, 60) for _ in pair], [generator.randint(110, 150) for _ in pair]
        for turn in range(generator.randint(*split.turns)):
            utterances.append(
                Utterance(
                    path=f"{_TURNS}/{split.name}/{mixture_id}/{turn}-{pair[turn % 2].speaker}.wav",
                    text=next(sentences),
                    voice=pair[turn % 2].name,
                    rate=rates[turn % 2],
                    pitch=pitches[turn % 2],
                    pad=0.0,
                )
            )
    return utterances


def write_split(folder: Path, split: Split, spoken: Sequence[Spoken]) -> None:
    """The mixtures of a split and Kaldi's lists of them."""
    lists: defaultdict[str, list[str]] = defaultdict(list)
    segments_of: defaultdict[str, list[str]] = defaultdict(list)
    for mixed in mix_split(folder, split, spoken):
        path = Path("Libri2Mix", "wav16k", "max", split.folder, "mix_both", f"{mixed.mixture_id}.wav")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, mixed.samples, SAMPLE_RATE, subtype="PCM_16")
        lists["wav.scp"].append(f"{mixed.mixture_id} {path.as_posix()}")
        lists["reco2dur"].append(f"{mixed.mixture_id} {len(mixed.samples) / SAMPLE_RATE}")
        for speaker, start, end in mixed.segments:
            segment = f"{speaker}-{mixed.mixture_id}_{round(start * 1000):06}_{round(end * 1000):06}"
            lists["segments"].append(f"{segment} {mixed.mixture_id} {start:.3f} {end:.3f}")
            lists["utt2spk"].append(f"{segment} {speaker}")
            lists["rttm"].append(f"SPEAKER\t{mixed.mixture_id}\t1\t{start:.3f}\t{end - start:.3f}\t<NA>\t<NA>\t{speaker}\t<NA>")
            segments_of[speaker].append(segment)
    lists["spk2utt"] = [f"{speaker} {' '.join(segments)}" for speaker, segments in sorted(segments_of.items())]
    kaldi = folder / "LibriMix-SD" / split.name
    kaldi.mkdir(parents=True)
    for name, lines in lists.items():
        write_lines(kaldi / name, lines)


def mix_split(folder: Path, split: Split, spoken: Sequence[Spoken]) -> Iterator[Mixed]:
    """The turns of each mixture put together."""
    for parent, turns in groupby(spoken, key=lambda said: Path(said.utterance.path).parent):
        yield mix(folder, parent.name, list(turns))


def mix(folder: Path, mixture_id: str, turns: Sequence[Spoken]) -> Mixed:
    """One mixture: each turn begins before the last one ends or after a pause, each speaker has a level, noise lies over all."""
    generator = random.Random(f"{_KEY} {mixture_id}")
    begin = generator.uniform(0.1, 0.5)
    levels: dict[str, float] = {}
    placed: list[tuple[int, np.ndarray]] = []
    segments: list[tuple[str, float, float]] = []
    for said in turns:
        speaker = Path(said.utterance.path).stem.split("-")[1]
        level = levels.setdefault(speaker, 0.05 * 10 ** (generator.uniform(-3, 3) / 20))
        samples = soundfile.read(folder / said.utterance.path)[0]
        own_end = max((end for name, _, end in segments if name == speaker), default=0.0)
        begin = max(begin, own_end + _PAUSE)
        placed.append((round(begin * SAMPLE_RATE), samples * (level / np.sqrt(np.mean(samples**2)))))
        segments += [(speaker, round(begin + start, 3), round(begin + end, 3)) for start, end in _segments(said)]
        overlaps = generator.random() < 0.6
        begin += said.seconds + (-generator.uniform(0.3, 1.5) if overlaps else generator.uniform(0.1, 0.6))
    total = max(start + len(samples) for start, samples in placed) + round(generator.uniform(0.1, 0.5) * SAMPLE_RATE)
    mixture = _noise(total, 0.05 * 10 ** (-generator.uniform(20, 30) / 20), generator.randrange(2**32))
    for start, samples in placed:
        mixture[start : start + len(samples)] += samples
    return Mixed(mixture_id, np.clip(mixture, -1, 1 - 2**-15), sorted(segments, key=lambda segment: segment[1:]))


def _segments(said: Spoken) -> list[tuple[float, float]]:
    """(start, end) of the stretches of words without a pause."""
    stretches: list[tuple[float, float]] = []
    for _, start, end in said.words:
        if stretches and start - stretches[-1][1] < _PAUSE:
            stretches[-1] = (stretches[-1][0], end)
        else:
            stretches.append((start, end))
    return stretches


def _noise(length: int, level: float, seed: int) -> np.ndarray:
    """Noise (length,) of this root mean square, weaker towards high frequencies."""
    white = np.random.default_rng(seed).standard_normal(length + 7)
    brown = np.convolve(white, np.hanning(8), mode="valid")
    return brown * (level / np.sqrt(np.mean(brown**2)))
