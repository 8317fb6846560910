"""Audio SNIPS (Coucke et al., 2018; spoken by Lai et al., 2021) as Lhotse cuts: one sentence by one voice each.

Layout, that of the archive prepared for s3prl: ``SNIPS/{train,valid,test}/**/VOICE-snips-SPLIT-N.wav``, ``all.iob.snips.txt`` with a
line for each of them, ``slots.txt``. All folders hold all voices; a split is made of the voices that belong to it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError
from corpus.locate import Source
from corpus.units import OUTSIDE
from corpus.whole_file import whole_file

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

logger = logging.getLogger(__name__)

TRANSCRIPTS, SLOTS = "all.iob.snips.txt", "slots.txt"
URL = "https://huggingface.co/datasets/s3prl/SNIPS"
SOURCE = Source("SNIPS", (TRANSCRIPTS, SLOTS), URL)

SPEAKERS = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
"""SUPERB's voices of each folder (s3prl, ``downstream/ctc/snips.yaml``)."""

NAMED_AT_MOST = 5
"""Files listed in one message."""


@dataclass(frozen=True)
class Sentence:
    """What an utterance says.

    Attributes:
        words: as the file has them, punctuation included.
        slots: the slot of each word, or `OUTSIDE`.
        intent: what the speaker wants.
    """

    words: tuple[str, ...]
    slots: tuple[str, ...]
    intent: str


def read(root: Path | str, split: str, speakers: Sequence[str]) -> CutSet:
    """The utterances of a folder that these voices speak, sorted by id.

    Each cut is called as its file and has one supervision: the words as text, the voice as speaker and, among ``custom``, ``slots``
    (a slot a word, parted by spaces) and ``intent``. Audio without a transcript is left out with a warning, as s3prl does.

    Args:
        root: the folder ``SNIPS``.
        split: one of the folders in `SPEAKERS`.
        speakers: names with which the ids begin.
    Raises:
        DataError: a missing folder or transcript file, a bad line, a voice without audio, a transcript without its audio, or audio
            that cannot be read.
    """
    from lhotse import CutSet

    root = Path(root).resolve()
    sentences = read_sentences(root / TRANSCRIPTS)
    audio = _audio(root / split, speakers)
    _check_complete(root / split, audio, sentences, tuple(speakers))
    return CutSet.from_cuts(_cut(audio[utt_id], sentences[utt_id], speakers) for utt_id in sorted(audio.keys() & sentences.keys()))


def read_slots(root: Path | str) -> list[str]:
    """The slots of ``slots.txt``, in its order. Its first line is `OUTSIDE`.

    Raises:
        DataError: no such file, or it is something else.
    """
    path = Path(root) / SLOTS
    lines = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if lines[:1] != [OUTSIDE] or len(lines) < 2 or len(set(lines)) < len(lines):
        raise DataError(f"{path}: a list of slots has {OUTSIDE!r} in its first line and one slot a line after it, none twice")
    return lines[1:]


def read_sentences(path: Path) -> dict[str, Sentence]:
    """The sentences of ``all.iob.snips.txt`` by utterance id: ``ID BOS w1 … wn EOS<TAB>O s1 … sn INTENT`` a line."""
    sentences = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        utt_id, _, rest = line.strip().partition(" ")
        spoken, _, labels = rest.partition("\t")
        words, slots = spoken.split(" "), labels.split(" ")
        if len(words) != len(slots) or len(words) < 3 or (words[0], words[-1], slots[0]) != ("BOS", "EOS", OUTSIDE):
            raise DataError(f"{path}, line {number}: a line is ID BOS words EOS, a tab, O, a slot for each word, and the intent")
        if utt_id in sentences:
            raise DataError(f"{path}, line {number}: the id {utt_id} stands in an earlier line already")
        sentences[utt_id] = Sentence(tuple(words[1:-1]), tuple(slots[1:-1]), slots[-1])
    return sentences


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no file {path}: it belongs to Audio SNIPS. Get it from {URL}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); get it from {URL} again") from error


def _audio(folder: Path, speakers: Sequence[str]) -> dict[str, Path]:
    """The files of these voices by utterance id."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: Audio SNIPS has {', '.join(SPEAKERS)}. Get it from {URL}")
    audio = {path.stem: path for path in folder.rglob("*.wav") if path.stem.startswith(tuple(speakers))}
    silent = [speaker for speaker in speakers if not any(utt_id.startswith(speaker) for utt_id in audio)]
    if silent or not audio:
        raise DataError(f"no .wav of {_some(silent) or 'any voice'} under {folder}; files are called VOICE-snips-{folder.name}-N.wav")
    return audio


def _check_complete(folder: Path, audio: dict[str, Path], sentences: dict[str, Sentence], speakers: tuple[str, ...]) -> None:
    part = f"-{folder.name}-"
    absent = [utt_id for utt_id in sentences if utt_id.startswith(speakers) and part in utt_id and utt_id not in audio]
    if absent:
        raise DataError(f"{folder} is incomplete: no audio of {_some([f'{utt_id}.wav' for utt_id in absent])}. Get it from {URL} again")
    untold = sorted(audio.keys() - sentences.keys())
    if len(untold) == len(audio):
        raise DataError(f"{folder.parent / TRANSCRIPTS} has no line for any file of {folder}, such as {untold[0]}.wav")
    if untold:
        logger.warning("%s: %d files without a transcript are left out: %s", folder, len(untold), _some(untold))


def _cut(path: Path, sentence: Sentence, speakers: Sequence[str]) -> MonoCut:
    speaker = max((name for name in speakers if path.stem.startswith(name)), key=len)
    labels = {"slots": " ".join(sentence.slots), "intent": sentence.intent}
    return whole_file(path, path.stem, TRANSCRIPTS, text=" ".join(sentence.words), speaker=speaker, labels=labels)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else "")
