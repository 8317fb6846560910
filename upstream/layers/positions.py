"""What encoders know of time: positional convolutions, and the relative and rotary positions that attention reads.

Shape letters: B batch, F frames, D features, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.layers.lengths import valid_frames
from upstream.layers.options import TransformerOptions


class PositionalConvolution(nn.Module):
    """A wide grouped convolution over time, to be added to its input.

    Source: wav2vec 2.0 (Baevski et al., 2020, arXiv 2006.11477), section 2; fairseq models/wav2vec/wav2vec2.py; for `layer`
    data2vec (arXiv 2202.03555), a stack of narrow ones.

    Args:
        dim: D.
        kernel: frames that one convolution sees; an even one drops its last output.
        groups: of channels.
        depth: convolutions, one upon the other.
        norm: `weight` normalises the weights of each of the kernel's positions, `batch` the input by running statistics, `layer`
            each output frame.
        masked: keep padding at zero throughout, so that an utterance's frames are what they are without it.
    """

    def __init__(self, dim: int, kernel: int, groups: int, depth: int = 1, norm: str = "weight", masked: bool = True) -> None:
        super().__init__()
        self.norm, self.masked = norm, masked
        self.batch_norm = nn.BatchNorm1d(dim) if norm == "batch" else None
        make = WeightNormConvolution if norm == "weight" else nn.Conv1d
        self.layers = nn.ModuleList(make(dim, dim, kernel, padding=kernel // 2, groups=groups) for _ in range(depth))
        if norm != "layer":
            for layer in self.layers:
                initialize(layer, math.sqrt(4.0 / (kernel * dim)))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Encode the surroundings of each frame of x (B, F, D) with `lengths` (B,) valid frames; padding counts as zero."""
        padding = ~valid_frames(lengths.to(x.device), x.shape[1])[:, None]
        y = x.transpose(1, 2).masked_fill(padding, 0.0)
        if self.batch_norm is not None:
            y = self.batch_norm(y)
        for layer in self.layers:
            if self.masked:  # a norm's shift makes something of the padding
                y = y.masked_fill(padding, 0.0)
            y = layer(y)[..., : x.shape[1]]
            if self.norm == "layer":
                y = F.layer_norm(y.transpose(1, 2), y.shape[1:2]).transpose(1, 2)
            y = F.gelu(y)
        return y.transpose(1, 2)


class WeightNormConvolution(nn.Conv1d):
    """A convolution whose weight has a learned length at each of the kernel's positions: `weight_g` (1, 1, kernel) times the
    direction of `weight_v` (out, in / groups, kernel).

    PyTorch's own weight norm has changed the names and the order of its two tensors; these are the published ones.
    """

    def __init__(self, *arguments: int, **options: int) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        weight = self.weight.detach()
        del self.weight
        self.weight_g = nn.Parameter(lengths_of(weight))
        self.weight_v = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (B, C, F)."""
        return self._conv_forward(x, self.weight_v * (self.weight_g / lengths_of(self.weight_v)), self.bias)


def lengths_of(weight: Tensor) -> Tensor:
    """Euclidean lengths (1, 1, kernel) of a weight (out, in, kernel)."""
    return torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)


def initialize(layer: nn.Module, deviation: float) -> None:
    """Draw a convolution's weight from N(0, deviation) and clear its bias."""
    assert isinstance(layer, nn.Conv1d) and layer.bias is not None
    nn.init.zeros_(layer.bias)
    if isinstance(layer, WeightNormConvolution):
        nn.init.normal_(layer.weight_v, std=deviation)
        with torch.no_grad():
            layer.weight_g.copy_(lengths_of(layer.weight_v))
    else:
        nn.init.normal_(layer.weight, std=deviation)


class RelativeBias(nn.Module):
    """A learned bias by distance between key and query, in buckets that widen with the distance.

    Source: WavLM (Chen et al., 2021), section III-B, after T5; s3prl upstream/wavlm/modules.py.
    """

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.max_distance = options.max_distance
        self.table = nn.Embedding(options.buckets, options.heads)

    def forward(self, x: Tensor) -> Tensor:
        """The bias (H, F, F) by query and key for x (B, F, D)."""
        steps = torch.arange(x.shape[1], device=x.device)
        return self.table(self._bucket(steps[None] - steps[:, None])).permute(2, 0, 1)

    def _bucket(self, distance: Tensor) -> Tensor:
        half = self.table.num_embeddings // 2  # keys before the query, then those after it
        exact = half // 2
        steps = distance.abs()
        share = torch.log(steps.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        wide = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
        return half * (distance > 0) + torch.where(steps < exact, steps, wide)


class RelativeSinusoids(nn.Module):
    """Sinusoids of distances. Source: Transformer-XL (arXiv 1901.02860); fairseq modules/positional_encoding.py."""

    rates: Tensor

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, options.dim, 2).float() * -(math.log(10_000.0) / options.dim))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sinusoids (2F - 1, D) of the distances F - 1 down to 1 - F for x (B, F, D): sine at even, cosine at odd features."""
        frames = x.shape[1]
        angles = torch.arange(frames - 1, -frames, -1, device=x.device).float()[:, None] * self.rates
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(x.dtype)


class RotaryAngles(nn.Module):
    """Cosines and sines of rotary positions. Source: RoFormer (arXiv 2104.09864)."""

    rates: Tensor

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        rates = 1.0 / 10_000.0 ** (torch.arange(0, options.head_dim, 2).float() / options.head_dim)
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (F, d), each half of the features alike, for x (B, F, D)."""
        angles = torch.arange(x.shape[1], device=x.device).float()[:, None] * self.rates
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)
