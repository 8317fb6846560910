"""The utterances that files, folders and manifests on a command line mean, each with a name of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from corpus import manifest
from corpus.audio import STREAMED_FLAC, audio_files
from corpus.errors import DataError

MANIFESTS = (".tsv", ".csv", ".jsonl")
READERS = min(8, os.cpu_count() or 1)
"""Threads that read audio; decoding leaves Python's lock alone."""


@dataclass(frozen=True)
class Utterance:
    """An audio file, or a part of one.

    Attributes:
        utt_id: its name: the path below the given folder without suffix, or what the manifest calls it.
        path: the file, absolute.
        start: seconds from the beginning of the file.
        duration: seconds; None to the end.
    """

    utt_id: str
    path: Path
    start: float = 0.0
    duration: float | None = None

    @property
    def key(self) -> str:
        """The name as a relative path that stays below the folder it is put in: `/data/a` is `data/a`, `../a` is `a`."""
        return "/".join(part for part in self.utt_id.split("/") if part not in ("", ".", ".."))

    @property
    def place(self) -> str:
        """The file, and which part of it, in words."""
        words = [f"from {self.start:g} s"] if self.start else []
        words += [] if self.duration is None else [f"{self.duration:g} s long"]
        return f"{self.path} ({', '.join(words)})" if words else str(self.path)


def find(inputs: Iterable[str]) -> list[Utterance]:
    """The utterances of audio files, folders (searched to the bottom, sorted) and manifests, in this order; repeated ones once.

    A manifest is a .tsv, .csv or .jsonl file: a header (or keys) with `path` and, as wanted, `id`, `start`, `duration`; or fairseq's
    TSV, whose first line is the root folder and each other one `path<TAB>samples`.

    Raises:
        DataError: something does not exist or cannot be read as that, or two files would have one name.
    """
    found: dict[str, Utterance] = {}
    for utterance in (each for text in inputs for each in _of(Path(text))):
        if not utterance.key or not _is_text(utterance):
            raise DataError(f"{str(utterance.path)!r}: {utterance.utt_id!r} is no name for an utterance; rename it (UTF-8)")
        other = found.setdefault(utterance.key, utterance)
        if other != utterance:
            raise DataError(
                f"{other.place} and {utterance.place} would both be called {utterance.key}: name a folder that holds both, "
                "or give them ids of their own in a manifest (columns path and id)"
            )
    return list(found.values())


def _of(path: Path) -> Iterator[Utterance]:
    if path.suffix.lower() in MANIFESTS and not path.is_dir():
        yield from _fairseq(path) if _is_fairseq(path) else _listed(path)
        return
    root = path if path.is_dir() else path.parent
    for file in audio_files([path]):
        yield Utterance(_stem(file.relative_to(root).as_posix()), file.absolute())


def _is_text(utterance: Utterance) -> bool:
    """Whether the names can be written down: a file's name may be any bytes."""
    try:
        f"{utterance.utt_id}{utterance.path}".encode()
    except UnicodeEncodeError:
        return False
    return True


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _is_fairseq(path: Path) -> bool:
    """Whether the first line is one value that is no header: fairseq's root folder."""
    if path.suffix.lower() != ".tsv" or not path.is_file():
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().strip()
    return bool(first) and "\t" not in first and first != "path"


def _fairseq(path: Path) -> Iterator[Utterance]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    root = Path(lines[0].strip())
    if not root.is_dir():
        raise DataError(f"{path}, line 1: {root} is neither an existing root folder (fairseq's TSV) nor a header with a column 'path'")
    names = [line.split("\t")[0].strip() for line in lines[1:] if line.strip()]
    if not names:
        raise DataError(f"{path} lists no utterance")
    for name in names:
        yield Utterance(_stem(name), (root / name).absolute())


def _listed(path: Path) -> Iterator[Utterance]:
    """The lines of `corpus.manifest`'s format. The audio is not looked at, so that one bad file does not stop the others."""
    count = 0
    for number, row in manifest.rows(path):
        where, name = f"{path}, line {number}", row.get("path")
        if name in (None, ""):
            raise DataError(f"{where}: no path (columns there: {', '.join(row) or 'none'})")
        start, duration = (manifest.seconds(row, column, where) for column in ("start", "duration"))
        utt_id = manifest.text_of(row, "id") or _stem(str(name))
        yield Utterance(utt_id, (path.parent / str(name)).absolute(), start or 0.0, duration)
        count += 1
    if not count:
        raise DataError(f"{path} lists no utterance")


def seconds(utterances: Iterable[Utterance]) -> dict[str, float]:
    """The length of each utterance by key, as manifest or header say it; 0 where the header says nothing that can be believed."""
    chosen = list(utterances)
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip((utterance.key for utterance in chosen), pool.map(_seconds, chosen), strict=True))


def _seconds(utterance: Utterance) -> float:
    import soundfile

    if utterance.duration is not None:
        return utterance.duration
    try:
        header = soundfile.info(str(utterance.path))
    except (soundfile.LibsndfileError, TypeError):  # whoever reads the samples says what is wrong
        return 0.0
    return 0.0 if header.frames >= STREAMED_FLAC else max(0.0, header.frames / header.samplerate - utterance.start)
