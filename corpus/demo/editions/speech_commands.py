"""Miniature Speech Commands: single words by eSpeak NG voices and coloured noise, in Speech Commands v0.01's own layout.

Below the folder made: `speech_commands_v0.01/` with words, `_background_noise_/` and the two lists, and
`speech_commands_test_set_v0.01/` with the testing clips by class, and `_silence_/`.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from corpus.demo import building, voices
from corpus.demo.speech import SAMPLE_RATE, Spoken, Utterance
from corpus.speech_commands import KEYWORDS, NOISES, SILENCE, SOURCE, TEST_SOURCE, UNKNOWN, Part, part

# Everything is drawn from this key; raise it when the same utterances become other clips.
_KEY = "miniature speech commands 2"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
_LIST_SIZE = 120

OTHER_WORDS = ("bed", "bird", "cat", "dog", "happy", "house", "three", "tree")
"""Words of the data set that are no keywords; each voice says `_OTHERS` of them."""
_OTHERS = 4

# Colours of noise: how the amplitude falls with frequency.
_SLOPES = {"blue_noise": -0.5, "brown_noise": 1.0, "pink_noise": 0.5, "white_noise": 0.0}
_NOISE_SECONDS = 12
_NOISE_LEVELS = (0.002, 0.02)
_SILENCES = 16

# The loudness of a word, and how far the noise around it lies below.
_GAINS = (0.3, 0.9)
_SNR_DB = (15, 40)


@dataclass(frozen=True)
class Side:
    """One side of the split: which group of voices says each word how often."""

    part: Part
    group: str
    takes: int
    speakers: int | None = None  # the first so many of the voices; None for all

    def readers(self) -> list[voices.Voice]:
        """The voices that speak."""
        return voices.group(self.group)[: self.speakers]


SIDES = (Side("train", "train", 1), Side("dev", "dev", 2), Side("test", "test", 2))
# The same in a second, for tests.
TINY = (Side("train", "train", 1, speakers=2), Side("dev", "dev", 1, speakers=1), Side("test", "test", 1, speakers=1))


def make(cache: Path, sides: Sequence[Side] = SIDES) -> Path:
    """The folder that holds `speech_commands_v0.01/` and `speech_commands_test_set_v0.01/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        for said in spoken:
            _fill_a_second(folder / said.utterance.path, said.utterance.seed)
        _write_noises(folder / SOURCE.folder / NOISES)
        _write_lists(folder / SOURCE.folder)
        _write_test_set(folder)

    return building.build(cache, "speech_commands", building.chunks(plan(sides), _LIST_SIZE), finish)


def plan(sides: Sequence[Side] = SIDES) -> list[Utterance]:
    """What is said: by each voice every keyword and some of the other words, at a pitch of its own, at another rate each time."""
    return [utterance for side in sides for voice in side.readers() for utterance in _words(side, voice)]


def _words(side: Side, voice: voices.Voice) -> list[Utterance]:
    generator = random.Random(f"{_KEY} {voice.speaker}")
    name, pitch = _name(voice, side.part), generator.randint(40, 60)
    words = [*KEYWORDS, *sorted(generator.sample(OTHER_WORDS, _OTHERS))]
    return [
        Utterance(
            path=f"{SOURCE.folder}/{word}/{name}_nohash_{take}.wav",
            text=word,
            voice=voice.name,
            rate=generator.randint(110, 160),
            pitch=pitch + generator.randint(-8, 8),
            range=generator.randint(40, 60),
            pad=0.0,
            seed=generator.randrange(2**32),
        )
        for take in range(side.takes)
        for word in words
    ]


def _name(voice: voices.Voice, side: Part) -> str:
    """Eight hexadecimal digits that the data set's rule puts on this side."""
    names = (f"{number:08x}" for number in itertools.count(voice.speaker << 16))
    return next(name for name in names if part(name) == side)


def _fill_a_second(path: Path, seed: int) -> None:
    """Put the word somewhere in a second of faint noise; what is longer loses its ends."""
    generator = np.random.default_rng(seed)
    word, _ = soundfile.read(path)
    before = max(0, len(word) - SAMPLE_RATE) // 2
    word = word[before : before + SAMPLE_RATE] * generator.uniform(*_GAINS)
    level = np.sqrt(np.mean(word**2)) * 10 ** (-generator.uniform(*_SNR_DB) / 20)
    clip = _noise("pink_noise", 1, level, generator)
    start = generator.integers(0, SAMPLE_RATE - len(word) + 1)
    clip[start : start + len(word)] += word
    _write(path, clip)


def _write_noises(folder: Path) -> None:
    for index, colour in enumerate(_SLOPES):
        _write(folder / f"{colour}.wav", _noise(colour, _NOISE_SECONDS, max(_NOISE_LEVELS), np.random.default_rng([1, index])))


def _write_lists(root: Path) -> None:
    clips = sorted(path.relative_to(root).as_posix() for path in root.glob("[!_]*/*.wav"))
    for name, side in (("validation_list.txt", "dev"), ("testing_list.txt", "test")):
        listed = "".join(f"{clip}\n" for clip in clips if part(Path(clip).name) == side)
        (root / name).write_text(listed, encoding="utf-8", newline="\n")


def _write_test_set(folder: Path) -> None:
    for clip in (folder / SOURCE.folder / "testing_list.txt").read_text(encoding="utf-8").splitlines():
        word, _, name = clip.partition("/")
        to = f"{word}/{name}" if word in KEYWORDS else f"{UNKNOWN}/{word}_{name}"
        copy = folder / TEST_SOURCE.folder / to
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / SOURCE.folder / clip, copy)
    for index, colour in zip(range(_SILENCES), itertools.cycle(_SLOPES)):
        generator = np.random.default_rng([2, index])
        _write(folder / TEST_SOURCE.folder / SILENCE / f"{index}.wav", _noise(colour, 1, generator.uniform(*_NOISE_LEVELS), generator))


def _noise(colour: str, seconds: int, level: float, generator: np.random.Generator) -> np.ndarray:
    """Noise of a colour with a root mean square of `level`."""
    spectrum = np.fft.rfft(generator.standard_normal(seconds * SAMPLE_RATE))
    hertz = np.arange(len(spectrum)) / seconds
    samples = np.fft.irfft(spectrum * (hertz + 50.0) ** -_SLOPES[colour])
    return samples * (level / np.sqrt(np.mean(samples**2)))


def _write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16), SAMPLE_RATE, subtype="PCM_16")
