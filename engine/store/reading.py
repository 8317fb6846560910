"""A finished store, memory-mapped for reading."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.store.layout import MANIFEST, SIZES, hold, read_index, shard_path
from upstream.base import Representation

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Store:
    """Reads a store. While it lives, no command removes the folder.

    Sizes and the index's hash are checked on opening, the content of shards by `--store-verify`: reading all of them here would take
    minutes.

    Args:
        pinned: read into memory that a GPU copies from on its own.
    Raises:
        CheckpointError: the store is damaged.
    """

    def __init__(self, folder: Path, pinned: bool = False) -> None:
        self.folder, self.pinned, self._held = folder, pinned, hold(folder)
        self.manifest, index, ids = read_index(folder)
        self.num_states, self.dim, self.pooled = self.manifest.num_states, self.manifest.dim, self.manifest.pooled
        columns = (index[name].tolist() for name in ("shard", "start", "frames", "samples"))
        self._rows: dict[str, tuple[int, int, int, int]] = dict(
            zip(ids, zip(*columns, strict=True), strict=False)  # without utterances there is one empty id
        )
        self._shards: dict[int, Tensor] = {}
        self._arrays: dict[int, np.ndarray] = {}
        with contextlib.suppress(OSError):
            os.utime(folder / MANIFEST)  # when it was last used: what --store-prune --older-than goes by

    def __contains__(self, utt_id: str) -> bool:
        return utt_id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dtypes(self) -> list[str]:
        """Those of the shards, each once."""
        return sorted({shard.dtype for shard in self.manifest.shards})

    def read(self, utt_ids: Sequence[str]) -> tuple[Representation, Tensor]:
        """The padded representation of these utterances as it is stored, one frame each where it is pooled, and sample counts (B,)."""
        shards, starts, frames, samples = zip(*(self._rows[utt_id] for utt_id in utt_ids), strict=True)
        states = self._means(shards, starts) if self.pooled else self._frames(shards, starts, frames)
        return Representation(states, torch.tensor(frames)), torch.tensor(samples)

    def _means(self, shards: Sequence[int], starts: Sequence[int]) -> Tensor:
        """(L, B, 1, D): a block an utterance, gathered as they lie."""
        size = self.num_states * self.dim
        found = torch.empty(len(starts), size, pin_memory=self.pinned)
        for row, shard, start in zip(found.numpy(), shards, starts, strict=True):
            row[:] = self._values(shard)[start : start + size]
        return found.view(-1, self.num_states, self.dim).transpose(0, 1).unsqueeze(2)

    def _frames(self, shards: Sequence[int], starts: Sequence[int], frames: Sequence[int]) -> Tensor:
        """(L, B, F, D), zero behind each utterance; float32 where shards differ in type."""
        dtypes = {self.manifest.shards[shard].dtype for shard in shards}
        dtype = DTYPES[dtypes.pop()] if len(dtypes) == 1 else torch.float32
        states = torch.empty(self.num_states, len(starts), max(frames), self.dim, dtype=dtype, pin_memory=self.pinned)
        for place, (shard, start, count) in enumerate(zip(shards, starts, frames, strict=True)):
            block = self._shard(shard)[start : start + self.num_states * count * self.dim]
            states[:, place, :count] = block.view(self.num_states, count, self.dim)
            states[:, place, count:] = 0
        return states

    def _values(self, number: int) -> np.ndarray:
        """The float32 values of a shard."""
        if number not in self._arrays:
            self._arrays[number] = self._shard(number).numpy()
        return self._arrays[number]

    def _shard(self, number: int) -> Tensor:
        """The values of a shard, mapped when they are first asked for; nothing that is done to them reaches the file."""
        if number not in self._shards:
            shard = self.manifest.shards[number]
            path, count = str(shard_path(self.folder, number)), shard.bytes // SIZES[shard.dtype]
            self._shards[number] = torch.from_file(path, shared=False, size=count, dtype=DTYPES[shard.dtype])
        return self._shards[number]
