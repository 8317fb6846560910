"""Miniature LibriSpeech: everyday sentences read by eSpeak NG voices, in LibriSpeech's own layout.

Below the folder made: `LibriSpeech/SPLIT/SPEAKER/CHAPTER/` with the FLAC files and the transcripts, and beside them word
alignments (`.alignment.txt`, as Lhotse reads them) and phone alignments (`.phones.jsonl`); `librispeech-lexicon.txt` on top.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from corpus.demo import building, lexicon, text, voices
from corpus.demo.speech import Spoken, Utterance

# Everything is drawn from this key; the held-out splits come first, so that the size of train leaves them as they are.
_KEY = "miniature librispeech 1"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60


@dataclass(frozen=True)
class Split:
    """One split: which group of voices reads how many sentences each.

    `rates` are eSpeak NG's, which counts long words: with these short ones 86 to 116 gives 110 to 145 words a minute of audio.
    `pitches` are those of whole chapters, 50 being the voice's own. `snr_db`: from a quiet room to a street.
    """

    name: str
    group: str
    per_speaker: int
    rates: tuple[int, int] = (86, 116)
    pitches: tuple[int, int] = (40, 60)
    snr_db: tuple[int, int] = (35, 50)
    speakers: int | None = None  # the first so many of the voices; None for all

    def readers(self) -> list[voices.Voice]:
        """The voices that read."""
        return voices.group(self.group)[: self.speakers]


SPLITS = (
    Split("test-clean", "test", 12),
    Split("test-other", "test-other", 12, snr_db=(15, 25)),
    Split("dev-clean", "dev", 12),
    Split("dev-other", "dev-other", 12, snr_db=(15, 25)),
    Split("train-clean-100", "train", 18),
)
# The same in a second, for tests.
TINY = (
    Split("test-clean", "test", 2, speakers=1),
    Split("dev-clean", "dev", 2, speakers=1),
    Split("train-clean-100", "train", 4, speakers=2),
)


def make(cache: Path, splits: Sequence[Split] = SPLITS) -> Path:
    """The folder that holds `LibriSpeech/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    lists = [chunk for utterances in plan(splits).values() for chunk in building.chunks(utterances, LIST_SIZE)]

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        write_transcripts(folder, spoken)
        write_speakers(folder / "LibriSpeech" / "SPEAKERS.TXT", splits, spoken)
        write_lines(folder / "librispeech-lexicon.txt", lexicon.lines(text.EVERYDAY.words()))

    return building.build(cache, "librispeech", lists, finish)


def plan(splits: Sequence[Split] = SPLITS) -> dict[str, list[Utterance]]:
    """What each split says: no sentence twice, the speakers in order, each with one chapter."""
    planned: dict[str, list[Utterance]] = {}
    used: set[str] = set()
    for split in splits:
        readers = split.readers()
        sentences = text.EVERYDAY.draw(split.per_speaker * len(readers), f"{_KEY} {split.name} sentences", exclude=used)
        used.update(sentences)
        planned[split.name] = [
            utterance
            for index, voice in enumerate(readers)
            for utterance in chapter(split, voice, sentences[index * split.per_speaker : (index + 1) * split.per_speaker])
        ]
    return planned


def held_out_sentences() -> set[str]:
    """The sentences of all splits but train, in lower case: to be kept out of every training."""
    held_out = [split for split in SPLITS if split.group != "train"]
    return {utterance.text for utterances in plan(held_out).values() for utterance in utterances}


def chapter(split: Split, voice: voices.Voice, sentences: Sequence[str], number: int = 0) -> list[Utterance]:
    """One chapter of a speaker: a pitch of its own; the rate, the pitch and its range differ from sentence to sentence."""
    name = f"{voice.speaker}-{voice.speaker}{number + 1:02}"
    generator = random.Random(f"{_KEY} {split.name} {name}")
    folder = f"LibriSpeech/{split.name}/{name.replace('-', '/')}"
    pitch = generator.randint(*split.pitches)
    return [
        Utterance(
            path=f"{folder}/{name}-{index:04}.flac",
            text=sentence,
            voice=voice.name,
            rate=generator.randint(*split.rates),
            pitch=pitch + generator.randint(-8, 8),
            range=generator.randint(40, 60),
            snr_db=generator.randint(*split.snr_db),
            seed=generator.randrange(2**32),
        )
        for index, sentence in enumerate(sentences)
    ]


def write_transcripts(folder: Path, spoken: Sequence[Spoken]) -> None:
    """Transcripts and alignments beside the audio of each chapter."""
    for parent, chapter_spoken in groupby(spoken, key=lambda said: (folder / said.utterance.path).parent):
        transcripts, word_lines, phone_lines = [], [], []
        for said in chapter_spoken:
            utt_id = Path(said.utterance.path).stem
            transcripts.append(f"{utt_id} {said.utterance.text.upper()}")
            word_lines.append(_alignment_line(utt_id, said))
            phones = [[phone, start, end] for phone, start, end in said.phones]
            phone_lines.append(json.dumps({"utt_id": utt_id, "phones": phones}))
        stem = f"{parent.parent.name}-{parent.name}"
        for suffix, lines in ((".trans.txt", transcripts), (".alignment.txt", word_lines), (".phones.jsonl", phone_lines)):
            write_lines(parent / (stem + suffix), lines)


def _alignment_line(utt_id: str, said: Spoken) -> str:
    """Id, words and their ends, as in the LibriSpeech alignments that Lhotse reads; a silence is an empty word."""
    words: list[str] = []
    ends: list[float] = []
    for word, start, end in said.words:
        if start > (ends[-1] if ends else 0.0):
            words.append("")
            ends.append(start)
        words.append(word.upper())
        ends.append(end)
    if ends[-1] < said.seconds:
        words.append("")
        ends.append(said.seconds)
    return f'{utt_id} "{",".join(words)}" "{",".join(f"{end:.4f}" for end in ends)}"'


def write_speakers(path: Path, splits: Sequence[Split], spoken: Sequence[Spoken]) -> None:
    """The table of speakers, in the columns of LibriSpeech's own, with the voice as the name."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for said in spoken:
        seconds[said.utterance.path.split("/")[2]] += said.seconds
    rows = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    rows += [
        f"{voice.speaker:<5}| {voice.gender} | {split.name:<17}| {seconds[str(voice.speaker)] / 60:<6.2f}| {voice.name}"
        for split in splits
        for voice in split.readers()
    ]
    write_lines(path, rows)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
