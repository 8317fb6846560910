"""What every encoder is to the rest of Weir: waveforms in, all hidden states out.

Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from upstream.errors import UpstreamError


@dataclass(frozen=True)
class Representation:
    """All hidden states of a batch.

    Attributes:
        hidden_states: (L, B, F, D) float; frames past an utterance's length are zero.
        lengths: (B,) int64, valid frames.
    """

    hidden_states: Tensor
    lengths: Tensor


class Upstream(nn.Module, ABC):
    """An encoder of 16 kHz waveforms.

    A valid frame depends on its own utterance alone: padding, neighbours and batch size never change it beyond float error.

    Attributes:
        name: registered name.
        sample_rate: Hz.
        stride: samples a frame.
        dim: features a frame, D.
        num_states: hidden states, L; constant.
        minimum_samples: the shortest utterance that the encoder accepts.
    """

    name: ClassVar[str]
    sample_rate: ClassVar[int] = 16_000
    stride: int
    dim: int
    num_states: int
    minimum_samples: int

    @abstractmethod
    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) float32 with `lengths` (B,) valid samples each.

        Raises:
            UpstreamError: an utterance is shorter than `minimum_samples`.
        """

    def check_lengths(self, lengths: Tensor) -> None:
        """Refuse utterances that are too short to encode."""
        shortest = int(lengths.min())
        if shortest < self.minimum_samples:
            raise UpstreamError(f"{self.name}: an utterance has {shortest} samples; it needs at least {self.minimum_samples}")
