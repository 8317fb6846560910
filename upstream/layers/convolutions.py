"""The convolutional front end of wav2vec 2.0 and its relatives: from waveforms to frames.

Source: wav2vec 2.0 (Baevski et al., 2020, arXiv 2006.11477), section 2; fairseq models/wav2vec/wav2vec2.py,
ConvFeatureExtractionModel. Shape letters: B batch, T samples, C channels, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        self.layers = nn.ModuleList(
            Convolution(source, size, norm if norm == "layer" or index == 0 else None, bias)
            for index, (source, size) in enumerate(zip(inputs, layers, strict=False))
        )

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, C, F) of waveforms (B, T) with `lengths` (B,) valid samples; frames past a length are not meaningful."""
        x = wavs[:, None]
        padded = self.by_row and bool((lengths < wavs.shape[1]).any())
        first = frames_of(lengths, self.sizes[:1]).tolist() if padded else None  # only the first layer has a norm over time
        for layer in self.layers:
            x, first = layer(x, first), None
        return x


class Convolution(nn.Module):
    """One convolution, its norm, and GELU."""

    def __init__(self, inputs: int, size: ConvLayer, norm: Literal["group", "layer"] | None, bias: bool) -> None:
        super().__init__()
        channels, kernel, stride = size
        self.conv = nn.Conv1d(inputs, channels, kernel, stride=stride, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm: nn.Module | None = None
        if norm == "group":
            self.norm = nn.GroupNorm(channels, channels)
        elif norm == "layer":
            self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, frames: list[int] | None) -> Tensor:
        """Map x (B, C, F); `frames` are each row's valid ones after this layer, for a norm over time that shall not see the others."""
        x = self.conv(x)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            x = self.norm(x) if frames is None else self._by_row(x, frames)
        return F.gelu(x)

    def _by_row(self, x: Tensor, frames: list[int]) -> Tensor:
        """The group norm of each row's valid frames; the others are zero."""
        assert self.norm is not None
        rows = [F.pad(self.norm(row[None, :, :count]), (0, x.shape[2] - count)) for row, count in zip(x, frames, strict=True)]
        return torch.cat(rows)
