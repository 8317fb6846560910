"""What a store keeps of a representation: every frame, or the mean that the head would take over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.store.layout import SIZES, DType
from upstream.base import Representation
from upstream.featurizer import nominal_lengths


@dataclass(frozen=True)
class Reduction:
    """`frames` keeps all hidden states. `pooled` keeps each state's mean over the valid frames, float32.

    Heads that are affine up to the mean give the same logits and gradients on both: the mean of a sum is the sum of the means, for
    every weighting of the states.

    Attributes:
        dtype: of what is stored.
        stride: of `pooled`: with a number, the mean is over round(samples / stride) frames at most, as `Probe` counts them.
    """

    kind: Literal["frames", "pooled"] = "frames"
    dtype: DType = "float32"
    stride: int | None = None

    @property
    def pooled(self) -> bool:
        return self.kind == "pooled"

    @property
    def key(self) -> str:
        """Its part in what decides the stored values."""
        return f"{self.kind}/{self.dtype}/{self.stride}"

    @property
    def words(self) -> str:
        """What is kept, in a sentence."""
        return "means over frames" if self.pooled else str(self)

    def __str__(self) -> str:
        return self.kind if self.dtype == "float32" else f"{self.kind} in {self.dtype}"

    def __call__(self, representation: Representation, samples: Tensor) -> Representation:
        """What is kept of a batch with `samples` (B,): itself, or a representation of one frame an utterance."""
        return representation.mean(self._counted(representation.lengths, samples)) if self.pooled else representation

    def split(self, states: Tensor, frames: Sequence[int], samples: Sequence[int]) -> list[Tensor]:
        """What is kept of each utterance: of states (L, N, D), the `frames` of one after those of the other, (L, F, D) or (L, 1, D)."""
        utterances = states.split(list(frames), dim=1)
        if not self.pooled:
            return list(utterances)
        counts = self._counted(torch.tensor(frames), torch.tensor(samples)).tolist()
        pairs = zip(utterances, counts, strict=True)
        return [utterance[:, :count].mean(1, keepdim=True, dtype=torch.float32) for utterance, count in pairs]

    def _counted(self, frames: Tensor, samples: Tensor) -> Tensor:
        """Of `frames` (B,), those that the mean is over."""
        return frames if self.stride is None else nominal_lengths(samples, self.stride, frames)

    def bytes(self, num_states: int, dim: int, frames: float) -> int:
        """Of an utterance with about so many frames."""
        return int(SIZES[self.dtype] * num_states * dim * (1 if self.pooled else frames))


def pooled(stride: int | None) -> Reduction:
    """The mean over the frames that a head with this rule of `Probe` would average."""
    return Reduction("pooled", stride=stride)
