"""What a store is on disk, and who may touch it when. Needs no PyTorch, so that stores are listed at once.

representations/KEY/           KEY: a hash of all that decides the values
    about.json                 what it will hold, for people; written first
    00000.bin, 00001.bin, …    shards: one contiguous block (L, F, D) an utterance, (L, D) where it is pooled
    00000.json, …              that a shard is finished: its size, its hash and its utterances
    index.bin                  a row an utterance, then the ids
    manifest.json              written last: a folder without it is no store
representations/.KEY.lock      held by who reads (shared) or writes (alone); the system gives it back when a process dies
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from corpus.cache import cache_dir
from corpus.files import write_atomically
from engine.errors import CheckpointError

log = logging.getLogger("weir")

FORMAT = 2
DType = Literal["float32", "float16", "bfloat16"]
SIZES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes a value."""

ROW = np.dtype([("start", "<u8"), ("samples", "<u8"), ("frames", "<u4"), ("shard", "<u4")])
"""Of the index: the block's first value in its shard, the utterance's samples, the block's frames (1 where pooled), the shard's number."""

ABOUT, INDEX, MANIFEST = "about.json", "index.bin", "manifest.json"


@dataclass(frozen=True)
class Shard:
    """A finished file of blocks. `dtype` may differ from shard to shard: see `writing`."""

    bytes: int
    sha256: str
    dtype: DType


@dataclass(frozen=True)
class Part:
    """A finished shard and its utterances in order: id, frames, samples."""

    shard: Shard
    utterances: Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class Manifest:
    """What a finished store holds. `index` is the hash of the index file."""

    num_states: int
    dim: int
    pooled: bool
    utterances: int
    index: str
    shards: tuple[Shard, ...]


def root() -> Path:
    """The folder of all stores."""
    return cache_dir() / "representations"


def location(*facts: object) -> Path:
    """The folder of a store, by everything that decides its values."""
    key = hashlib.sha256("/".join(map(str, (FORMAT, *facts))).encode()).hexdigest()
    return root() / key[:32]


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.bin"


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.json"


def is_complete(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def write_part(folder: Path, number: int, part: Part) -> None:
    write_atomically(part_path(folder, number), json.dumps(asdict(part)))


def read_part(folder: Path, number: int) -> Part | None:
    """A finished shard; None where it is missing, or its file has not the size that was written."""
    try:
        found = json.loads(part_path(folder, number).read_text(encoding="utf-8"))
        part = Part(Shard(**found["shard"]), [(utt_id, frames, samples) for utt_id, frames, samples in found["utterances"]])
        return part if shard_path(folder, number).stat().st_size == part.shard.bytes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_index(folder: Path, parts: Sequence[Part], num_states: int, dim: int, pooled: bool) -> None:
    """The index, and with it the store's last file."""
    rows, ids = np.zeros(sum(len(part.utterances) for part in parts), ROW), []
    place = 0
    for number, part in enumerate(parts):
        start = 0
        for utt_id, frames, samples in part.utterances:
            rows[place] = (start, samples, frames, number)
            ids.append(utt_id)
            start += num_states * frames * dim
            place += 1
    content = rows.tobytes() + "\0".join(ids).encode(errors="surrogateescape")
    write_atomically(folder / INDEX, content)
    manifest = Manifest(num_states, dim, pooled, len(ids), _sha256(content), tuple(part.shard for part in parts))
    write_atomically(folder / MANIFEST, json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1) + "\n")


def read_index(folder: Path) -> tuple[Manifest, np.ndarray, list[str]]:
    """The manifest, the index's rows (N,) of `ROW`, and the ids.

    Raises:
        CheckpointError: the store is damaged: a file is missing, cut short or changed.
    """
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("another format")
        manifest = Manifest(**{**values, "shards": tuple(Shard(**shard) for shard in values["shards"])})
        content = (folder / INDEX).read_bytes()
        if _sha256(content) != manifest.index:
            raise ValueError(f"{INDEX} is not what was written")
        for number, shard in enumerate(manifest.shards):
            size = shard_path(folder, number).stat().st_size
            if size != shard.bytes:
                raise ValueError(f"{shard_path(folder, number).name} has {size} bytes instead of {shard.bytes}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); --store-verify takes out what is wrong, and it is made again") from None
    length = manifest.utterances * ROW.itemsize
    rows = np.frombuffer(content, ROW, manifest.utterances)
    return manifest, rows, content[length:].decode(errors="surrogateescape").split("\0")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """The hash of a shard."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _in_pieces(file)


def _in_pieces(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def hold(folder: Path) -> IO[bytes] | None:
    """Keep a store from being removed until the returned file is closed; None where the cache cannot be written, nor pruned."""
    try:
        file = _open_lock(folder)
    except PermissionError:
        return None
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return None
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Be the only one to touch a store. Gives whether that is possible now."""
    with _open_lock(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[bool]:
    """Be the only one to write a store, after whoever is at it. Gives False once there is nothing left to write."""
    with _open_lock(folder) as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    log.info("another run uses %s: waiting for it", folder)
                waited = True
            fcntl.flock(file, fcntl.LOCK_SH)  # until nobody writes; others may go on reading for days
            if is_complete(folder):
                break
            fcntl.flock(file, fcntl.LOCK_UN)
            time.sleep(0.1 * random.random())  # several that wait do not stand in each other's way for long
        yield not is_complete(folder)


def _open_lock(folder: Path) -> IO[bytes]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return open(folder.with_name(f".{folder.name}.lock"), "ab")  # some network disks lock only what may be written


def remove(folder: Path) -> None:
    """Remove a store; call it under `alone`. Its manifest goes first, so that a kill in between leaves no store."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def size_words(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


def read_about(folder: Path) -> dict[str, Any]:
    """What a store holds, in words; empty where it does not say."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
