"""Convolutions over waveforms and frames, and the front end of wav2vec 2.0 and its relatives.

Source: wav2vec 2.0 (Baevski et al., 2020, arXiv 2006.11477), section 2; fairseq models/wav2vec/wav2vec2.py,
ConvFeatureExtractionModel. Shape letters: B batch, T samples, C channels, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.layers.lengths import own_lengths

ConvLayer = tuple[int, int, int]  # channels, kernel, stride
Count = TypeVar("Count", int, Tensor)


def frames_of(samples: Count, layers: Sequence[ConvLayer]) -> Count:
    """How many frames unpadded convolutions make of so many samples."""
    for _, kernel, stride in layers:
        samples = (samples - kernel) // stride + 1
    return samples


def receptive_field(layers: Sequence[ConvLayer]) -> int:
    """Samples that one frame sees: the fewest that make a frame."""
    field = 1
    for _, kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def stride_of(layers: Sequence[ConvLayer]) -> int:
    """Samples a frame."""
    return math.prod(stride for _, _, stride in layers)


class UtteranceNorm(nn.GroupNorm):
    """Group norm over the channels of a group and an utterance's frames."""

    def forward(self, x: Tensor, frames: list[int] | None = None) -> Tensor:
        """Normalise x (B, C, F) over each row's first `frames`, the others become zero; None: over the padded batch."""
        if frames is None:
            return super().forward(x)
        rows = [super(UtteranceNorm, self).forward(row[None, :, :count]) for row, count in zip(x, frames, strict=True)]
        return torch.cat([F.pad(row, (0, x.shape[2] - row.shape[2])) for row in rows])


class Convolution(nn.Module):
    """A convolution of frames or samples, its norm and its activation.

    Args:
        inputs: channels of the input.
        size: channels, kernel and stride.
        bias: of the convolution.
        norm: over channels, over time as well, or none.
        activation: after the norm.
        dropout: before the norm.
    """

    def __init__(
        self,
        inputs: int,
        size: ConvLayer,
        bias: bool,
        norm: nn.LayerNorm | UtteranceNorm | None,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, kernel, stride = size
        self.conv = nn.Conv1d(inputs, channels, kernel, stride=stride, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor, frames: list[int] | None = None) -> Tensor:
        """Map x (B, C, F); `frames` are each row's after this layer, for a norm over time that shall not see the others."""
        x = self.dropout(self.conv(x))
        if isinstance(self.norm, UtteranceNorm):
            x = self.norm(x, frames)
        elif self.norm is not None:
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.activation(x)


class Convolutions(nn.Module):
    """Convolutions over the waveform, each followed by GELU.

    Args:
        layers: channels, kernel and stride of each convolution.
        norm: `group` normalises each channel of the first convolution over the utterance's time, `layer` each frame of every one.
        bias: of the convolutions.
        alone: take the group norm's statistics over each utterance's own frames instead of over the padded batch.
    """

    def __init__(self, layers: Sequence[ConvLayer], norm: Literal["group", "layer"], bias: bool, alone: bool = True) -> None:
        super().__init__()
        self.sizes, self.by_row = tuple(layers), norm == "group" and alone
        inputs = [1, *(channels for channels, _, _ in layers)]
        norms: list[nn.LayerNorm | UtteranceNorm | None] = [nn.LayerNorm(channels) for channels in inputs[1:]]
        if norm == "group":
            norms = [UtteranceNorm(inputs[1], inputs[1]), *[None] * (len(layers) - 1)]
        parts = [Convolution(source, size, bias, made) for source, size, made in zip(inputs, layers, norms, strict=False)]
        for part in parts:
            nn.init.kaiming_normal_(part.conv.weight)
        self.layers = nn.ModuleList(parts)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, C, F) of waveforms (B, T) with `lengths` (B,) valid samples; frames past a length are not meaningful."""
        x = wavs[:, None]
        own = own_lengths(lengths, wavs.shape[1], self.by_row)
        first = None if own is None else [frames_of(samples, self.sizes[:1]) for samples in own]  # only it has a norm over time
        for layer in self.layers:
            x, first = layer(x, first), None
        return x
