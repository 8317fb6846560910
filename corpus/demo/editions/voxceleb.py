"""Miniature VoxCeleb1: everyday sentences said by eSpeak NG voices, in a few "videos" each that sound different.

Below the folder made, in the data set's own layout: `VoxCeleb1/dev/wav/SPEAKER/VIDEO/NNNNN.wav` with the training voices,
`VoxCeleb1/test/wav/` with voices that no training of any kind hears, `iden_split.txt` (identification of the training voices; dev
and test have videos of their own), `voxceleb1_test_v2.txt` (trials of the other voices) and `vox1_meta.csv`.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.demo import building, text, voices
from corpus.demo.speech import Spoken, Utterance
from corpus.voxceleb import CODES, drawn_trials, file_name, utterance_id

_KEY = "miniature voxceleb 1"
_LIST_SIZE = 40
# YouTube's names of videos are eleven of these; one that begins with a dash reads like an option.
_LETTERS = string.ascii_letters + string.digits + "_-"


@dataclass(frozen=True)
class Part:
    """One half of the data set: who speaks, and how much.

    `men` and `women` are the first so many voices of the groups; None for all. `rates` are eSpeak NG's: they give sentences of two
    to four seconds. `snr_db` and `pitches` are those of whole videos.
    """

    folder: str
    groups: tuple[str, ...]
    videos: int
    per_video: int
    men: int | None = None
    women: int | None = None
    rates: tuple[int, int] = (100, 135)
    pitches: tuple[int, int] = (40, 60)
    snr_db: tuple[int, int] = (12, 35)

    def speakers(self) -> list[voices.Voice]:
        """The voices that speak."""
        everyone = [voice for name in self.groups for voice in voices.group(name)]
        chosen = {"M": self.men, "F": self.women}
        return [voice for gender, count in chosen.items() for voice in [v for v in everyone if v.gender == gender][:count]]


@dataclass(frozen=True)
class Edition:
    """Both halves, and how many trials are drawn among the speakers of `test`."""

    dev: Part
    test: Part
    trials: int


EDITION = Edition(
    dev=Part("dev/wav", ("train",), videos=5, per_video=3),
    test=Part("test/wav", ("test", "dev", "test-other", "dev-other"), videos=4, per_video=2),
    trials=700,
)
# The same in a second, for tests.
TINY = Edition(
    dev=Part("dev/wav", ("train",), videos=3, per_video=1, men=5, women=3),
    test=Part("test/wav", ("test",), videos=2, per_video=1, men=1, women=1),
    trials=20,
)


def make(cache: Path, edition: Edition = EDITION) -> Path:
    """The folder that holds `VoxCeleb1/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    parts = plan(edition)
    everything = [utterance for videos in parts.values() for video in videos for utterance in video]

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        root = folder / "VoxCeleb1"
        _write(root / "iden_split.txt", _identification(edition.dev, parts["dev"]))
        _write(root / "voxceleb1_test_v2.txt", _trials(edition.trials, parts["test"]))
        _write(root / "vox1_meta.csv", _speakers(edition))

    return building.build(cache, "voxceleb", building.chunks(everything, _LIST_SIZE), finish)


def plan(edition: Edition = EDITION) -> dict[str, list[list[Utterance]]]:
    """What is said in each video of "dev" and of "test": no sentence twice, the speakers in order."""
    planned: dict[str, list[list[Utterance]]] = {}
    used: set[str] = set()
    for name, part in (("dev", edition.dev), ("test", edition.test)):
        readers = [(voice, number) for voice in part.speakers() for number in range(part.videos)]
        sentences = text.EVERYDAY.draw(part.per_video * len(readers), f"{_KEY} {name} sentences", exclude=used)
        used.update(sentences)
        planned[name] = [
            _video(part, voice, number, sentences[index * part.per_video : (index + 1) * part.per_video])
            for index, (voice, number) in enumerate(readers)
        ]
    return planned


def _video(part: Part, voice: voices.Voice, number: int, sentences: Sequence[str]) -> list[Utterance]:
    """A video has its noise, its pitch and its rate; within it they differ a little from sentence to sentence."""
    generator = random.Random(f"{_KEY} {part.folder} {voice.speaker} {number}")
    name = generator.choice(_LETTERS[:-1]) + "".join(generator.choices(_LETTERS, k=10))
    snr_db, pitch, rate = generator.randint(*part.snr_db), generator.randint(*part.pitches), generator.randint(*part.rates)
    return [
        Utterance(
            path=f"VoxCeleb1/{part.folder}/id1{voice.speaker}/{name}/{index:05}.wav",
            text=sentence,
            voice=voice.name,
            rate=rate + generator.randint(-5, 5),
            pitch=pitch + generator.randint(-5, 5),
            range=generator.randint(35, 65),
            snr_db=snr_db,
            seed=generator.randrange(2**32),
        )
        for index, sentence in enumerate(sentences, 1)
    ]


def _identification(part: Part, videos: Sequence[Sequence[Utterance]]) -> list[str]:
    """Lines of the identification split: each speaker's last video is for testing, the one before for development."""
    held_out = {part.videos - 1: "test", part.videos - 2: "dev"}
    return [
        f"{CODES[held_out.get(index % part.videos, 'train')]} {_listed(utterance)}"
        for index, video in enumerate(videos)
        for utterance in video
    ]


def _trials(count: int, videos: Sequence[Sequence[Utterance]]) -> list[str]:
    """Lines of the trials, those of one speaker and of two mixed."""
    utt_ids = [utterance_id(_listed(utterance)) for video in videos for utterance in video]
    lines = [
        f"{trial.same:d} {file_name(trial.first)} {file_name(trial.second)}" for trial in drawn_trials(utt_ids, count, f"{_KEY} trials")
    ]
    random.Random(f"{_KEY} order of trials").shuffle(lines)
    return lines


def _speakers(edition: Edition) -> list[str]:
    """The table of speakers, in the columns of VoxCeleb1's own, with the variant of the voice as the name."""
    rows = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"]
    for name, part in (("dev", edition.dev), ("test", edition.test)):
        for voice in part.speakers():
            nation = "UK" if voice.base == voices.BRITISH else "USA"
            rows.append(f"id1{voice.speaker}\t{voice.variant}\t{voice.gender.lower()}\t{nation}\t{name}")
    return rows


def _listed(utterance: Utterance) -> str:
    """A file as the lists name it."""
    return "/".join(Path(utterance.path).parts[-3:])


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
