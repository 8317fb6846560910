"""Representations of a frozen upstream on disk: computed once over a split, then read at memory speed.

A store is a folder under the cache, named by what it holds (fingerprints of upstream and cuts, precision): `states.bin`, one
contiguous (L, F, D) float32 block an utterance, and `index.json`, their order, frame counts and sample counts. The folder
appears by one rename when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus.cache import cache_dir
from corpus.files import make_folder, write_atomically
from engine.errors import CheckpointError
from upstream.base import Representation

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """Where an utterance's block begins (in values), and its size."""

    start: int
    frames: int
    samples: int


class Store:
    """A finished store, memory-mapped for reading."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.num_states, self.dim = index["num_states"], index["dim"]
        path, start = folder / "states.bin", 0
        self.entries: dict[str, Entry] = {}
        for utt_id, frames, samples in index["utterances"]:
            self.entries[utt_id] = Entry(start, frames, samples)
            start += self.num_states * frames * self.dim
        if path.stat().st_size != 4 * start:
            size = path.stat().st_size
            raise CheckpointError(f"{path} has {size} bytes instead of {4 * start}; remove the folder {folder}: it is made again")
        self.values = np.memmap(path, dtype=np.float32, mode="r")

    def read(self, utt_ids: Sequence[str]) -> tuple[Representation, Tensor]:
        """The padded representation of these utterances, and their sample counts (B,)."""
        entries = [self.entries[utt_id] for utt_id in utt_ids]
        longest = max(entry.frames for entry in entries)
        states = torch.zeros(self.num_states, len(entries), longest, self.dim)
        for row, entry in enumerate(entries):
            block = self.values[entry.start : entry.start + self.num_states * entry.frames * self.dim]
            states.numpy()[:, row, : entry.frames] = block.reshape(self.num_states, entry.frames, self.dim)
        lengths = torch.tensor([entry.frames for entry in entries])
        return Representation(states, lengths), torch.tensor([entry.samples for entry in entries])


def location(upstream: str, corpus: str, precision: str) -> Path:
    """The folder of a store, by the fingerprints of what it holds."""
    key = hashlib.sha256(f"{FORMAT}/{upstream}/{corpus}/{precision}".encode()).hexdigest()
    return cache_dir() / "representations" / key[:32]


def write(folder: Path, num_states: int, dim: int, batches: Iterable[tuple[list[str], Representation, Tensor]]) -> Store:
    """Write (utt_ids, representation, sample counts (B,)) batches as a store, unless it is there.

    Raises:
        CheckpointError: it cannot be written, for want of space say; nothing is left behind.
    """
    try:
        make_folder(folder, lambda making: _fill(making, num_states, dim, batches))
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{folder}: representations cannot be stored ({reason}); free disk space or give --store off") from None
    return Store(folder)


def _fill(folder: Path, num_states: int, dim: int, batches: Iterable[tuple[list[str], Representation, Tensor]]) -> None:
    utterances: list[tuple[str, int, int]] = []
    with open(folder / "states.bin", "wb") as file:
        for utt_ids, representation, samples in batches:
            states, frames = representation.hidden_states.float().cpu(), representation.lengths.tolist()
            for row, (utt_id, count, length) in enumerate(zip(utt_ids, frames, samples.tolist(), strict=True)):
                file.write(states[:, row, :count].contiguous().numpy().data)
                utterances.append((utt_id, count, length))
        file.flush()
        os.fsync(file.fileno())
    index = {"format": FORMAT, "num_states": num_states, "dim": dim, "utterances": utterances}
    write_atomically(folder / "index.json", json.dumps(index))
