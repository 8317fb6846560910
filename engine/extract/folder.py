"""A folder of extracted features: what it holds, what is finished, and what is still to do.

manifest.json   which upstream, layers and type; a command that says otherwise is refused
index.jsonl     one line an utterance, by utt_id: where its array is
failed.jsonl    the utterances that could not be used, and why; only where there are any
parts/          the lines of each finished shard; a shard is finished when its part is there
shards/ arrays/ the arrays (`shards.py`)
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corpus.errors import DataError
from corpus.files import TEMPORARY, remove_unfinished, write_atomically
from engine.errors import ConfigError
from engine.extract.shards import Entry, read_array, write_shard
from engine.extract.utterances import Utterance

SCHEMA = 2
"""Raised when folders of before cannot be gone on with, or read."""
KIND = "weir features"
MANIFEST, INDEX, FAILED = "manifest.json", "index.jsonl", "failed.jsonl"
PARTS, SHARDS, ARRAYS = "parts", "shards", "arrays"
SHARD_SECONDS = 3600.0
"""Most audio in a shard, however small its arrays are: what a kill can cost."""

DECIDING = ("fingerprint", "schema", "what", "layers", "dtype", "format", "precision", "forward")
"""Keys of the manifest that decide the arrays."""


@dataclass(frozen=True)
class Failure:
    """An utterance that could not be used: a line of `failed.jsonl`."""

    utt_id: str
    key: str
    error: str


@dataclass(frozen=True)
class Part:
    """What a finished shard holds."""

    number: int
    entries: Sequence[Entry]
    failures: Sequence[Failure]


@dataclass(frozen=True)
class Shard:
    """Utterances that are to be encoded and written together.

    Attributes:
        retried: they failed before.
    """

    number: int
    utterances: Sequence[Utterance]
    retried: bool = False


@dataclass
class Features:
    """A folder of extracted features; iterate over `entries`, and `read` one of them.

    >>> features = Features.open("features")
    >>> features.read("1272/128104/1272-128104-0000").shape
    (4, 583, 768)
    """

    folder: Path
    manifest: dict[str, Any]
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path | str) -> Features:
        """The features of a finished folder. Raises ConfigError for a folder that holds none."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest is None or not (folder / INDEX).is_file():
            raise ConfigError(f"{folder} holds no finished features ({MANIFEST}, {INDEX}); write them with -m extract")
        if manifest.get("schema") != SCHEMA:
            raise ConfigError(f"{folder} holds features of schema {manifest.get('schema')}, not {SCHEMA}; extract them again")
        lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
        entries = [_entry(json.loads(line)) for line in lines]
        return cls(folder, manifest, {entry.utt_id: entry for entry in entries})

    def read(self, utt_id: str) -> np.ndarray:
        """The array of an utterance: (L, F, D), (L, D) or (1, F, G). Raises KeyError for an unknown one."""
        return read_array(self.folder, self.entries[utt_id])


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """`manifest.json` of a folder; None where there is none. Raises ConfigError for one that extraction did not write."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); choose another folder") from None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ConfigError(f"{path} was not written by -m extract; choose another folder")
    return values


def list_fingerprint(utterances: Iterable[Utterance]) -> str:
    """SHA-256 (hex) over the names of the utterances and their order."""
    return hashlib.sha256("\n".join(utterance.key for utterance in utterances).encode(errors="surrogateescape")).hexdigest()


@contextlib.contextmanager
def claimed(folder: Path, manifest: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Begin to write into a folder, or go on, and keep other commands out of it meanwhile; only the main process does.

    Raises:
        ConfigError: it holds something else, or another process writes there.
    """
    there = read_manifest(folder)
    if there is None and (odd := [name for name in (INDEX, PARTS, SHARDS, ARRAYS) if (folder / name).exists()]):
        raise ConfigError(f"{folder} holds {', '.join(odd)}, which no extraction wrote ({MANIFEST} is missing); choose another folder")
    if there is not None:
        with _alone(folder):
            if overwrite:
                _clear(folder)
            else:
                _check_same(folder, there, manifest)
                _sweep(folder)
    if there is None or overwrite:
        write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    with _alone(folder):
        yield


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock on the manifest; the system gives it back when this process dies."""
    with open(folder / MANIFEST, "r+") as file:  # some network disks lock only what may be written
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another process is writing features there; wait for it, or choose another folder") from None
        yield


def _check_same(folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differences = [f"{key} {there.get(key)} there, {now[key]} now" for key in DECIDING[1:] if there.get(key) != now[key]]
    if there.get("fingerprint") != now["fingerprint"]:
        differences.insert(0, f"upstream {_upstream(there)} there, {_upstream(now)} now")
    if differences:
        raise ConfigError(f"{folder} holds other features ({'; '.join(differences)}): choose another folder, or --overwrite replaces them")


def _upstream(manifest: Mapping[str, Any]) -> str:
    weights = manifest.get("checkpoint") or "published weights"
    return f"{manifest.get('upstream')} ({weights}, {str(manifest.get('fingerprint'))[:12]})"


def _sweep(folder: Path) -> None:
    """Remove the half-written files of killed processes."""
    remove_unfinished(folder)
    for name in (PARTS, SHARDS, ARRAYS):
        for leftover in (folder / name).rglob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)


def _clear(folder: Path) -> None:
    """Remove what extractions wrote, and nothing else; the manifest stays until it is replaced, so that a kill leaves a folder of ours."""
    for name in (INDEX, FAILED):
        (folder / name).unlink(missing_ok=True)
    for name in (PARTS, SHARDS, ARRAYS):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def read_parts(folder: Path) -> list[Part]:
    """The finished shards, by number; one whose files are gone is not finished."""
    parts = []
    for path in sorted((folder / PARTS).glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        entries = [_entry(row) for row in rows if "error" not in row]
        if all((folder / shard).is_file() for shard in {entry.shard for entry in entries}):
            parts.append(Part(int(path.stem), entries, [Failure(**row) for row in rows if "error" in row]))
    return parts


def _entry(row: dict[str, Any]) -> Entry:
    layers = row.pop("layers")
    return Entry(**row, layers=None if layers is None else tuple(layers))


def write_part(folder: Path, part: Part, arrays: Sequence[np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a shard, and then that it is finished."""
    if part.entries:
        write_shard(folder, list(zip(part.entries, arrays, strict=True)), about)
    write_atomically(folder / PARTS / f"{part.number:05d}.jsonl", _lines([*part.entries, *part.failures]))


def _lines(rows: Iterable[Entry | Failure]) -> str:
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def write_index(folder: Path, utterances: Iterable[Utterance]) -> tuple[list[Entry], list[Failure]]:
    """Write `index.jsonl` and `failed.jsonl` from the parts. Returns both; of the failed, those among `utterances`."""
    parts = read_parts(folder)
    entries = {entry.key: entry for part in parts for entry in part.entries}
    listed = {utterance.key for utterance in utterances} - entries.keys()
    failed = {failure.key: failure for part in parts for failure in part.failures if failure.key in listed}
    rows = sorted(entries.values(), key=lambda entry: entry.utt_id)
    failures = sorted(failed.values(), key=lambda failure: failure.utt_id)
    write_atomically(folder / INDEX, _lines(rows))
    if failures:
        write_atomically(folder / FAILED, _lines(failures))
    else:
        (folder / FAILED).unlink(missing_ok=True)
    return rows, failures


def remaining(utterances: Sequence[Utterance], parts: Sequence[Part], keep_holes: bool) -> tuple[list[list[Utterance]], list[Utterance]]:
    """What is to do: runs of utterances that were never tried, and those that failed.

    Args:
        keep_holes: never put utterances from both sides of a finished shard into one: then the shards are those that an
            uninterrupted run would have written.
    Raises:
        DataError: an utterance on disk came from another file, or another part of it, than the one of this name now.
    """
    done = {entry.key: entry for part in parts for entry in part.entries}
    failed = {failure.key for part in parts for failure in part.failures} - done.keys()
    runs: list[list[Utterance]] = [[]]
    retried = []
    for utterance in utterances:
        entry = done.get(utterance.key)
        there = Utterance(utterance.utt_id, Path(entry.path), entry.start, entry.duration) if entry else utterance
        if there != utterance:
            raise DataError(
                f"{utterance.key} was extracted from {there.place}, and is now {utterance.place}: choose another folder, or "
                "--overwrite replaces the features"
            )
        if entry is None and utterance.key not in failed:
            runs[-1].append(utterance)
        elif keep_holes and runs[-1]:
            runs.append([])
        if utterance.key in failed:
            retried.append(utterance)
    return [run for run in runs if run], retried


def plan_shards(
    runs: Iterable[Sequence[Utterance]], retried: Sequence[Utterance], taken: Iterable[int], share: Callable[[Utterance], float]
) -> list[Shard]:
    """Shards of neighbours, numbered by the numbers that are free; what failed before comes last.

    Args:
        taken: numbers of finished shards.
        share: which part of a shard an utterance fills.
    """
    used = set(taken)
    numbers = (number for number in itertools.count() if number not in used)
    shards = [Shard(next(numbers), shard) for run in runs for shard in _packed(run, share)]
    return shards + [Shard(next(numbers), shard, retried=True) for shard in _packed(retried, share)]


def _packed(utterances: Sequence[Utterance], share: Callable[[Utterance], float]) -> Iterator[list[Utterance]]:
    shard: list[Utterance] = []
    full = 0.0
    for utterance in utterances:
        more = share(utterance)
        if shard and full + more > 1:
            yield shard
            shard, full = [], 0.0
        shard.append(utterance)
        full += more
    if shard:
        yield shard
