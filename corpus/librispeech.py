"""LibriSpeech (Panayotov et al., 2015) as Lhotse cuts, one a recording, under LibriSpeech's own ids.

Layout: ``LibriSpeech/SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac`` with ``SPEAKER-CHAPTER.trans.txt`` beside them.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.cache import cache_dir
from corpus.errors import DataError
from corpus.files import write_atomically
from corpus.locate import Source

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

logger = logging.getLogger(__name__)

TRAINING_SPLITS = ("train-clean-100", "train-clean-360", "train-other-500")
SPLITS = (*TRAINING_SPLITS, "dev-clean", "dev-other", "test-clean", "test-other")
URL = "https://www.openslr.org/12"
SOURCE = Source("LibriSpeech", SPLITS, URL)
FORMAT = 1
"""Of the cached manifests; a new number reads everything again."""

NAMED_AT_MOST = 5
"""Files listed in one message."""


def read(root: Path | str, split: str) -> CutSet:
    """The utterances of a split, sorted by id.

    Each cut has its LibriSpeech id and one supervision with the transcript (upper case) and the speaker. The manifest is kept
    in the cache and read again from the audio when names, sizes or times of the files have changed.

    Args:
        root: the folder ``LibriSpeech``.
        split: one of `SPLITS`.
    Raises:
        DataError: unknown split, missing folder, audio or transcript, or a FLAC file that cannot be read.
    """
    folder = _folder(Path(root), split).resolve()  # the manifest holds it, and is read from other working directories
    from lhotse import CutSet

    content = _scan(folder)
    place = cache_dir() / "manifests" / f"librispeech-{split}-{_digest(str(folder))}"
    manifest = place / f"{content.key}.jsonl.gz"
    if not manifest.exists():
        logger.info("reading the headers of %d files of %s (once, then from the cache)", len(content.audio), folder)
        cuts = CutSet.from_cuts(_cuts(folder, content))
        write_atomically(manifest, lambda path: cuts.to_file(path))
        _forget_others(manifest)
        return cuts
    return CutSet.from_file(manifest).to_eager()


def read_all(root: Path | str, splits: Sequence[str]) -> CutSet:
    """The utterances of several splits, one after another; each split once."""
    from lhotse import CutSet

    if not splits or len(set(splits)) < len(splits):
        raise DataError(f"LibriSpeech splits {list(splits)}: name at least one, and none twice (of {', '.join(SPLITS)})")
    return CutSet.from_cuts(cut for split in splits for cut in read(root, split))


@dataclass(frozen=True)
class _Content:
    """What a split's folder holds.

    Attributes:
        audio: path of each FLAC file by utterance id.
        transcripts: the ``.trans.txt`` files.
        key: digest of all names, sizes and modification times.
    """

    audio: dict[str, Path]
    transcripts: list[Path]
    key: str


def _folder(root: Path, split: str) -> Path:
    if split not in SPLITS:
        near = difflib.get_close_matches(split, SPLITS, n=1, cutoff=0.0)[0]
        raise DataError(f"LibriSpeech has no split {split!r}; did you mean {near!r}? It has {', '.join(SPLITS)}")
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: LibriSpeech's {split} is missing. Get {split}.tar.gz from {URL} and unpack it there")
    return folder


def _scan(folder: Path) -> _Content:
    """Walk a split's folder once."""
    audio, transcripts, lines = {}, [], []
    for entry in _files(folder):
        if entry.name.endswith(".flac"):
            audio[entry.name[: -len(".flac")]] = Path(entry.path)
        elif entry.name.endswith(".trans.txt"):
            transcripts.append(Path(entry.path))
        else:
            continue
        status = entry.stat()
        lines.append(f"{os.path.relpath(entry.path, folder)}\t{status.st_size}\t{status.st_mtime_ns}")
    if not audio or not transcripts:
        raise DataError(f"no {'*.flac' if not audio else '*.trans.txt'} under {folder}; unpack {folder.name}.tar.gz from {URL} again")
    return _Content(audio, sorted(transcripts), _digest(f"{FORMAT}\n" + "\n".join(sorted(lines))))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                yield entry


def _cuts(folder: Path, content: _Content) -> list[MonoCut]:
    """Cuts through Lhotse's LibriSpeech recipe, after checking that audio and transcripts belong together."""
    transcripts = dict(_transcripts(content.transcripts))
    _check_complete(folder, content, transcripts)
    return [_cut(folder, utt_id, transcripts[utt_id]) for utt_id in sorted(transcripts)]


def _cut(folder: Path, utt_id: str, text: str) -> MonoCut:
    from lhotse.audio.utils import AudioLoadingError
    from lhotse.cut import MonoCut
    from lhotse.recipes.librispeech import parse_utterance

    path = folder / Path(*utt_id.split("-")[:-1]) / f"{utt_id}.flac"
    try:
        parsed = parse_utterance(folder, f"{utt_id} {text.upper()}", {})
    except AudioLoadingError as error:
        raise DataError(f"{path}: not a FLAC file, or damaged; unpack {folder.name}.tar.gz from {URL} again") from error
    if parsed is None:
        raise DataError(f"{utt_id}.flac belongs into {path.parent}: LibriSpeech's own layout is expected")
    recording, supervision = parsed
    if recording.num_samples == 0:
        raise DataError(f"{path}: no samples; unpack {folder.name}.tar.gz from {URL} again")
    return MonoCut(utt_id, start=0.0, duration=recording.duration, channel=0, recording=recording, supervisions=[supervision])


def _transcripts(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(utterance id, words) of each line."""
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            utt_id, _, text = line.strip().partition(" ")
            if utt_id and not text.strip():
                raise DataError(f"{path}, line {number}: no words for {utt_id}; a line is an id and its transcript")
            if utt_id:
                yield utt_id, text.strip()


def _check_complete(folder: Path, content: _Content, transcripts: dict[str, str]) -> None:
    silent, unwritten = sorted(transcripts.keys() - content.audio.keys()), sorted(content.audio.keys() - transcripts.keys())
    problems = []
    if silent:
        problems.append(f"transcripts without audio: {_some([f'{utt_id}.flac' for utt_id in silent])}")
    if unwritten:
        problems.append(f"audio without a transcript: {_some([str(content.audio[utt_id].relative_to(folder)) for utt_id in unwritten])}")
    if problems:
        raise DataError(f"{folder} is incomplete ({'; '.join(problems)}); unpack {folder.name}.tar.gz from {URL} again")


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else "")


def _forget_others(manifest: Path) -> None:
    """Delete manifests of what this folder held before."""
    for old in manifest.parent.glob("*.jsonl.gz"):
        if old != manifest and not old.name.startswith("."):
            old.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
