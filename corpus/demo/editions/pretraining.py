"""Speech for pre-training: training voices alone, no sentence of the held-out splits, many accents and rates.

The layout is LibriSpeech's (`LibriSpeech/train-clean-360/`), so that the reader of LibriSpeech reads it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from corpus.demo import building, text, voices
from corpus.demo.editions import librispeech
from corpus.demo.editions.librispeech import LIST_SIZE, Split
from corpus.demo.speech import Spoken, Utterance

_KEY = "pretraining 1"
# 80 to 152: 100 to 190 words a minute of audio.
SPLIT = Split("train-clean-360", "train", 35, rates=(80, 152), pitches=(30, 70))
# Chapters of a speaker: one in the own accent, two in accents drawn from these.
_CHAPTERS = 3
_ACCENTS = (
    voices.AMERICAN,
    voices.NEW_YORK,
    voices.BRITISH,
    voices.SCOTTISH,
    voices.CARIBBEAN,
    voices.LANCASTER,
    voices.WEST_MIDLANDS,
)


def make(cache: Path, split: Split = SPLIT) -> Path:
    """The folder that holds `LibriSpeech/train-clean-360/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    utterances = plan(split)

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        librispeech.write_transcripts(folder, spoken)
        librispeech.write_speakers(folder / "LibriSpeech" / "SPEAKERS.TXT", [split], spoken)

    return building.build(cache, "pretraining", building.chunks(utterances, LIST_SIZE), finish)


def plan(split: Split = SPLIT) -> list[Utterance]:
    """What is said: `split.per_speaker` sentences a chapter, every second one from the wide vocabulary."""
    held_out = librispeech.held_out_sentences()
    readers = [(voice, number) for voice in split.readers() for number in range(_CHAPTERS)]
    count = split.per_speaker * len(readers)
    everyday = text.EVERYDAY.draw((count + 1) // 2, f"{_KEY} everyday", exclude=held_out)
    wide = text.WIDE.draw(count // 2, f"{_KEY} wide", exclude=held_out.union(everyday))
    sentences = everyday + wide
    random.Random(f"{_KEY} order").shuffle(sentences)
    utterances = []
    for index, (voice, number) in enumerate(readers):
        generator = random.Random(f"{_KEY} accent {voice.variant} {number}")
        reader = voice if number == 0 else replace(voice, base=generator.choice(_ACCENTS))
        own = sentences[index * split.per_speaker : (index + 1) * split.per_speaker]
        utterances += librispeech.chapter(split, reader, own, number)
    return utterances
