"""The forward of a frozen encoder: batches or lists of utterances, packed without padding.

Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from upstream.base import Precision, Representation, Upstream, padded
from upstream.fast.linear import packing_pays

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
PACK = {"cpu": 1600}  # frames encoded together: more leave the cache
LONG_PACK = 32_768  # elsewhere
VERSION = 1  # raised when the same weights give other states


class Encoder(Protocol):
    """The packed form of an encoder."""

    def frames(self, samples: int) -> int:
        """How many frames an utterance of so many samples has."""

    def __call__(self, wavs: Sequence[Tensor], states: Tensor) -> None:
        """Fill states (L, F, D) with the frames of the waveforms (T,), one after the other."""


class FrozenForward:
    """Hidden states of a frozen encoder; see `upstream.base.Frozen`.

    The weights are those at the first use. In fp32 without packed weights most are shared with the plain encoder; otherwise they are
    held a second time, and bf16 takes half of that.

    Args:
        build: makes the packed form, when it is first needed.
        dtype: of the states.
    """

    def __init__(self, plain: Upstream, build: Callable[[], Encoder], dtype: torch.dtype) -> None:
        self.plain, self.build, self.dtype = plain, build, dtype

    @cached_property
    def encoder(self) -> Encoder:
        return self.build()

    @property
    def form(self) -> str:
        """What decides the last bits of the states beside weights and precision."""
        device = next(self.plain.parameters()).device.type
        weights = "oneDNN" if device == "cpu" and packing_pays(self.dtype, torch.get_num_threads()) else "plain"
        return f"packed {VERSION} {weights}"

    @torch.no_grad()
    def __call__(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        states, frames = self.packed([wav[:length] for wav, length in zip(wavs, lengths.tolist(), strict=True)])
        return padded(states.split(frames, dim=1))

    @torch.no_grad()
    def packed(self, wavs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Encode waveforms (T,) each.

        Returns: states (L, F, D) of all utterances, one after the other, and the frames of each.
        """
        self.plain.check_lengths(torch.tensor([len(wav) for wav in wavs]))
        frames = [self.encoder.frames(len(wav)) for wav in wavs]
        states = wavs[0].new_empty(self.plain.num_states, sum(frames), self.plain.dim, dtype=self.dtype)
        start = 0
        with torch.autocast(states.device.type, enabled=False):
            for first, last in packs(frames, PACK.get(states.device.type, LONG_PACK)):
                end = start + sum(frames[first:last])
                self.encoder([wav.float() for wav in wavs[first:last]], states[:, start:end])
                start = end
        return states, frames

    @torch.no_grad()
    def error(self, wav: Tensor) -> float:
        """The largest relative error of a hidden state of a waveform (T,) against the plain encoder in fp32."""
        states, _ = self.packed([wav])
        with torch.autocast(wav.device.type, enabled=False):
            expected = self.plain(wav[None].float(), torch.tensor([len(wav)])).hidden_states[:, 0]
        differences = torch.linalg.vector_norm(states.float() - expected, dim=(1, 2))
        return float((differences / torch.linalg.vector_norm(expected, dim=(1, 2))).max())


def packs(frames: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Cut a list of utterances into runs, first and one past the last, of at most `limit` frames or of one utterance."""
    first = total = 0
    for index, count in enumerate(frames):
        if index > first and total + count > limit:
            yield first, index
            first, total = index, 0
        total += count
    yield first, len(frames)
