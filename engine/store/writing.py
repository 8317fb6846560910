"""Filling a store: by several processes, resumable after a kill, never taken for finished before it is.

What a shard holds is decided before anything is encoded, so that whoever writes it, after whatever was killed, writes the same
bytes. A shard appears by a rename and then counts as finished by a file beside it; the manifest comes last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from tqdm import tqdm

from corpus.errors import DataError
from corpus.files import TEMPORARY, remove_unfinished, write_atomically
from engine.errors import CheckpointError
from engine.store import layout
from engine.store.layout import ABOUT, DType, Part, Shard
from engine.store.reading import DTYPES
from engine.store.reduction import Reduction

log = logging.getLogger("weir")

SHARD_BYTES = 512 << 20
SHARD_SECONDS = 3600.0
"""Most audio in a shard, however little is kept of it: what a kill can cost."""
SHARES = 16
"""Shards that a store is divided into at least, where they are longer than `LEAST_SECONDS`, so that every process has work."""
LEAST_SECONDS = 300.0

T = TypeVar("T")
Encoded = tuple[Sequence[str], Sequence[Tensor], Sequence[int]]
"""Ids, what is kept of each one's states (L, F, D), and sample counts."""
Encode = Callable[[Sequence[T]], Iterable[Encoded]]


@dataclass(frozen=True)
class Content(Generic[T]):
    """What a store will hold.

    Attributes:
        shards: for each shard its batches, whatever `encode` takes.
        seconds: of audio in a batch.
        about: in words and numbers, for `--store-list`.
    """

    num_states: int
    dim: int
    reduction: Reduction
    shards: Sequence[Sequence[T]]
    seconds: Callable[[T], float]
    about: dict[str, Any]


def divide(batches: Sequence[T], seconds: Callable[[T], float], size: Callable[[T], int]) -> list[list[T]]:
    """Batches in shards of neighbours, by these limits: the same ones for whoever asks."""
    longest = min(SHARD_SECONDS, max(LEAST_SECONDS, sum(map(seconds, batches)) / SHARES))
    shards: list[list[T]] = []
    audio = bytes = 0.0
    for batch in batches:
        audio, bytes = audio + seconds(batch), bytes + size(batch)
        if not shards or audio > longest or bytes > SHARD_BYTES:
            shards.append([])
            audio, bytes = seconds(batch), size(batch)
        shards[-1].append(batch)
    return shards


def fill(folder: Path, content: Content[T], encode: Encode[T], accelerator: Accelerator | None = None, quiet: bool = True) -> None:
    """Write what is still missing of a store. Over several processes all call this together, and process i of n writes the i-th, the
    (i + n)-th … missing shard.

    Args:
        encode: what a shard's batches hold, one by one; it may be asked twice for a shard.
        quiet: show no progress.
    Raises:
        CheckpointError: it cannot be written, for want of space say; finished shards stay.
    """
    main = accelerator is None or accelerator.is_main_process
    rank, processes = (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    with layout.writing(folder) if main else nullcontext(False) as needed:
        missing = _begin(folder, content) if needed else None
        missing = broadcast_object_list([missing])[0] if processes > 1 else missing
        if missing is not None:
            own = missing[rank::processes]
            with _progress(content, own, quiet) as bar:
                for number in own:
                    _write_shard(folder, number, content, _watched(encode, content.seconds, bar))
            if accelerator is not None:
                accelerator.wait_for_everyone()
            if main:
                _finish(folder, content)
    if accelerator is not None:
        accelerator.wait_for_everyone()
    if not layout.is_complete(folder):
        raise CheckpointError(f"{folder} is not where the main process wrote it: all processes need the same cache (WEIR_CACHE)")


def _progress(content: Content[Any], numbers: Sequence[int], quiet: bool) -> tqdm[Any]:
    """A bar over the hours of audio in some shards, counted in milliseconds: whole numbers add up to their sum."""
    total = sum(_milliseconds(content.seconds(batch)) for number in numbers for batch in content.shards[number])
    hours = "{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}]"
    title = f"encode {content.about['what']}"
    return tqdm(total=total, unit_scale=1 / 3.6e6, desc=title, bar_format=hours, disable=quiet or not total, leave=False)


def _watched(encode: Encode[T], seconds: Callable[[T], float], bar: tqdm[Any]) -> Encode[T]:
    """`encode`, followed by a bar."""

    def watched(batches: Sequence[T]) -> Iterator[Encoded]:
        for batch, encoded in zip(batches, encode(batches), strict=True):
            yield encoded
            more = _milliseconds(seconds(batch))
            bar.total = max(bar.total or 0, bar.n + more)  # a shard may be encoded twice
            bar.update(more)

    return watched


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _begin(folder: Path, content: Content[Any]) -> list[int]:
    """The numbers of the shards to write. Half-written files of killed processes go."""
    about = {**content.about, "plan": [len(shard) for shard in content.shards]}
    there = layout.read_about(folder)
    with _explained(folder):
        if there and there.get("plan") != about["plan"]:  # another version divided it otherwise
            layout.remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        write_atomically(folder / ABOUT, json.dumps(about, ensure_ascii=False, indent=1) + "\n")
    missing = [number for number in range(len(content.shards)) if layout.read_part(folder, number) is None]
    if len(missing) < len(content.shards):
        log.info("%d of %d shards are there already", len(content.shards) - len(missing), len(content.shards))
    return missing


def _finish(folder: Path, content: Content[Any]) -> None:
    parts = [layout.read_part(folder, number) for number in range(len(content.shards))]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        raise CheckpointError(f"{folder}: shard {parts.index(None)} vanished while others were written; run the command again")
    with _explained(folder):
        layout.write_index(folder, found, content.num_states, content.dim, content.reduction.pooled)
    wide = sum(part.shard.dtype != content.reduction.dtype for part in found)
    if wide:
        log.info("%d of %d shards hold values beyond float16's range and are stored in bfloat16", wide, len(found))


def _write_shard(folder: Path, number: int, content: Content[T], encode: Encode[T]) -> None:
    """Write a shard, in bfloat16 where float16 cannot hold it."""
    batches = content.shards[number]
    try:
        part = _write_file(folder, number, encode(batches), content.reduction.dtype)
    except _BeyondRange:
        log.info("shard %d holds values beyond 65504, the range of float16: it is stored in bfloat16", number)
        part = _write_file(folder, number, encode(batches), "bfloat16")
    with _explained(folder):
        layout.write_part(folder, number, part)


class _BeyondRange(Exception):
    """A value that float16 cannot hold."""


def _write_file(folder: Path, number: int, encoded: Iterable[Encoded], dtype: DType) -> Part:
    path = layout.shard_path(folder, number)
    temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex[:12]}-{path.name}"
    digest, utterances = hashlib.sha256(), []
    try:
        with _explained(folder):
            file = open(temporary, "xb")  # noqa: SIM115 - what is encoded in between has errors of its own
        with file:
            for utt_ids, states, samples in encoded:
                blocks = [_block(each, dtype) for each in states]
                with _explained(folder):
                    for block in blocks:
                        digest.update(block)
                        file.write(block)
                utterances += list(zip(utt_ids, (each.shape[1] for each in states), samples, strict=True))
            with _explained(folder):
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
        with _explained(folder):
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Part(Shard(size, digest.hexdigest(), dtype), utterances)


def _block(states: Tensor, dtype: DType) -> memoryview:
    """The bytes of an utterance's block (L, F, D)."""
    block = states.to(DTYPES[dtype]).cpu().contiguous()
    if dtype == "float16" and bool(torch.isinf(block).any()):
        raise _BeyondRange
    return block.flatten().view(torch.uint8).numpy().data


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while a store is written into one message."""
    try:
        yield
    except (OSError, DataError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        reason = getattr(cause, "strerror", None) or error
        raise CheckpointError(
            f"{folder}: representations cannot be stored ({reason}); finished shards stay, and the same command goes on with them: "
            "free disk space, set WEIR_CACHE to a folder on another disk, or give --store off"
        ) from error
