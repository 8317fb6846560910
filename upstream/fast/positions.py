"""The positional convolution on packed utterances, as one matmul a group of channels.

Beside `upstream.layers.positions`, whose modules give the weights. Shape letters: F frames of all utterances, D features, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.fast.linear import Linear
from upstream.layers.positions import PositionalConvolution, WeightNormConvolution, lengths_of

BLOCK = 4  # neighbouring frames that one row of the matmul computes, from one window


class PackedPositions:
    """The positional convolution of packed utterances, each as if surrounded by zeros."""

    def __init__(self, plain: PositionalConvolution, dtype: torch.dtype) -> None:
        self.norm = plain.norm
        self.affine = None if plain.batch_norm is None else affine(plain.batch_norm, dtype)
        activation = None if self.norm == "layer" else "gelu"
        self.layers = [GroupedConvolution(layer, dtype, activation) for layer in plain.layers if isinstance(layer, nn.Conv1d)]

    def __call__(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Encode the surroundings of each frame of x (F, D), utterances of `lengths` frames one after the other."""
        places = place(lengths, self.layers[0].kernel, x.device)
        if self.affine is not None:
            scale, shift = self.affine
            x = torch.addcmul(shift, x, scale)
        for layer in self.layers:
            x = layer(x, places)
            if self.norm == "layer":
                x = F.gelu(F.layer_norm(x, x.shape[1:]))
        return x


def affine(norm: nn.BatchNorm1d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and shift (D,) that a batch norm amounts to with its running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return scale.to(dtype), (norm.bias.detach() - norm.running_mean * scale).to(dtype)


@dataclass(frozen=True)
class Places:
    """Where packed utterances stand in a sequence with room for the convolution around each.

    Attributes:
        frames: (F,) place of each frame in the sequence.
        rows: (R,) numbers of the windows, one every `BLOCK` frames, that make outputs of an utterance.
        outputs: (F,) place of each frame among the R * BLOCK outputs.
        total: length of the sequence.
    """

    frames: Tensor
    rows: Tensor
    outputs: Tensor
    total: int


def place(lengths: Sequence[int], kernel: int, device: torch.device) -> Places:
    """Set utterances of `lengths` frames apart for a convolution of this kernel."""
    frames, rows, outputs = [], [], []
    total = used = 0
    for length in lengths:
        count = -(-length // BLOCK)
        frames.append(torch.arange(length) + total + kernel // 2)
        rows.append(torch.arange(count) + total // BLOCK)
        outputs.append(torch.arange(length) + used * BLOCK)
        total += (count + -(-(kernel - 1) // BLOCK)) * BLOCK
        used += count
    return Places(torch.cat(frames).to(device), torch.cat(rows).to(device), torch.cat(outputs).to(device), total)


class GroupedConvolution:
    """A grouped convolution over time that keeps the number of frames: an even kernel drops its last output."""

    def __init__(self, plain: nn.Conv1d, dtype: torch.dtype, activation: str | None) -> None:
        weight = (
            plain.weight_v * (plain.weight_g / lengths_of(plain.weight_v)) if isinstance(plain, WeightNormConvolution) else plain.weight
        )
        assert plain.bias is not None
        self.groups, self.width, self.kernel = plain.groups, weight.shape[1], weight.shape[2]
        taps = weight.detach().unflatten(0, (self.groups, self.width)).transpose(2, 3)  # (G, out, kernel, in)
        wide = taps.new_zeros(self.groups, BLOCK, self.width, self.kernel + BLOCK - 1, self.width)
        for offset in range(BLOCK):
            wide[:, offset, :, offset : offset + self.kernel] = taps
        biases = plain.bias.detach().view(self.groups, self.width).repeat(1, BLOCK)
        self.linears = [Linear(w, b, dtype, activation) for w, b in zip(wide.flatten(3).flatten(1, 2), biases, strict=True)]

    def __call__(self, x: Tensor, places: Places) -> Tensor:
        """Convolve each utterance of x (F, D) by itself."""
        sequence = x.new_zeros(places.total, x.shape[1])
        sequence[places.frames] = x
        by_group = sequence.unflatten(1, (self.groups, self.width)).transpose(0, 1).contiguous()
        span = (self.kernel + BLOCK - 1) * self.width
        count = (places.total - self.kernel + 1) // BLOCK
        windows = by_group.as_strided((self.groups, count, span), (by_group.stride(0), BLOCK * self.width, 1))
        y = x.new_empty(len(places.rows) * BLOCK, self.groups, self.width)
        for group, linear in enumerate(self.linears):
            y[:, group] = linear(windows[group].index_select(0, places.rows)).view(-1, self.width)
        return y.flatten(1).index_select(0, places.outputs)
