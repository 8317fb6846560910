"""Heads shared by tasks. Shape letters: B batch, F frames, D features, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn


class RecurrentCTC(nn.Module):
    """Projection, bidirectional LSTM layers each followed by dropout, and a linear layer to symbols.

    Source: SUPERB's ASR and SF head (Yang et al., 2021); s3prl downstream/asr/model.py, RNNs.

    Args:
        dim, stride: features a frame, and samples between frames.
        classes: symbols, the blank included.
        total_rate, sample_style: see `Subsampling`.
    """

    def __init__(
        self, dim: int, stride: int, classes: int, *, projection: int, hidden: int, layers: int, dropout: float,
        total_rate: int = -1, sample_style: Literal["concat", "drop"] = "concat",
    ) -> None:  # fmt: skip
        super().__init__()
        self.subsampling = Subsampling(stride, total_rate, sample_style)
        self.projection = nn.Linear(self.subsampling.dim(dim), projection)
        sizes = [projection] + [2 * hidden] * (layers - 1)
        self.layers = nn.ModuleList(BidirectionalLSTM(size, hidden) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * hidden, classes)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F, D) with `lengths` (B,) to logits (B, F', C) and their lengths (B,)."""
        features, lengths = self.subsampling(features, lengths)
        x = self.projection(features)
        for layer in self.layers:
            x = self.dropout(layer(x, lengths))
        return self.output(x), lengths


class LinearCTC(nn.Module):
    """Two linear layers on every frame, without activation between them.

    Source: SUPERB's PR head (Yang et al., 2021); s3prl downstream/model.py, FrameLevel.

    Args:
        dim, stride: features a frame, and samples between frames.
        classes: symbols, the blank included.
        total_rate, sample_style: see `Subsampling`.
    """

    def __init__(
        self, dim: int, stride: int, classes: int, *, projection: int,
        total_rate: int = -1, sample_style: Literal["concat", "drop"] = "concat",
    ) -> None:  # fmt: skip
        super().__init__()
        self.subsampling = Subsampling(stride, total_rate, sample_style)
        self.projection = nn.Linear(self.subsampling.dim(dim), projection)
        self.output = nn.Linear(projection, classes)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F, D) with `lengths` (B,) to logits (B, F', C) and their lengths (B,)."""
        features, lengths = self.subsampling(features, lengths)
        return self.output(self.projection(features)), lengths


class Subsampling(nn.Module):
    """Fewer frames.

    Args:
        stride: samples between frames.
        total_rate: samples between the frames that leave; -1 leaves the stride.
        sample_style: `concat` stacks frames to get there, an incomplete last stack left out; `drop` keeps every n-th.
    """

    def __init__(self, stride: int, total_rate: int, sample_style: Literal["concat", "drop"]) -> None:
        super().__init__()
        self.factor = max(1, round(total_rate / stride)) if total_rate > 0 else 1
        self.stacked = sample_style == "concat"

    def dim(self, dim: int) -> int:
        """Features of a frame that leaves, for frames of `dim` that enter."""
        return dim * self.factor if self.stacked else dim

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, D) with `lengths` (B,) to (B, F // factor, D × factor) or (B, F / factor, D), and their lengths."""
        if self.factor == 1:
            return features, lengths
        if not self.stacked:
            return features[:, :: self.factor], (lengths - 1) // self.factor + 1
        batch, frames, dim = features.shape
        kept = frames // self.factor
        if kept == 0:  # shorter than one stacked frame: filled up with zeros
            features, kept = nn.functional.pad(features, (0, 0, 0, self.factor - frames)), 1
        stacked = features[:, : kept * self.factor].reshape(batch, kept, dim * self.factor)
        return stacked, (lengths // self.factor).clamp(min=1)


class MeanPoolingClassifier(nn.Module):
    """Projection without activation, mean over valid frames, and a linear layer to classes.

    The projection commutes with the mean, so that it is applied once an utterance. Source: SUPERB's KS, IC, SID and ER head (Yang
    et al., 2021); s3prl downstream/model.py, UtteranceLevel.

    Args:
        dim: features a frame.
        classes: logits; tasks with several slots take the sum of their sizes.
    """

    pools = True
    """All that the head needs of an utterance is the mean over its frames."""

    def __init__(self, dim: int, classes: int, *, projection: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, projection)
        self.output = nn.Linear(projection, classes)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, F, D) with `lengths` (B,) to logits (B, C)."""
        mean = features.squeeze(1) if features.shape[1] == 1 else masked_mean(features, lengths)
        return self.output(self.projection(mean))

    @staticmethod
    def stacked(parameters: Mapping[str, Tensor], means: Tensor) -> Tensor:
        """Logits (H, B, C) of H heads of one shape, with `parameters` (H, …) by name, of means (H, B, D)."""
        x = StackedLinear.apply(means, parameters["projection.weight"], parameters["projection.bias"])
        return StackedLinear.apply(x, parameters["output.weight"], parameters["output.bias"])


class StackedLinear(torch.autograd.Function):
    """H linear maps (H, outputs, inputs) with bias (H, outputs), each of its own x (H, B, inputs), in one matmul.

    PyTorch's own gradient of a weight would lie transposed in memory, and copying that takes longer than computing it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        (x, weight), (gradient,) = ctx.saved_tensors, gradients
        towards = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return towards, torch.bmm(gradient.mT, x), gradient.sum(1)


def masked_mean(features: Tensor, lengths: Tensor) -> Tensor:
    """The mean (B, D) over the valid frames of (B, F, D)."""
    valid = torch.arange(features.shape[1], device=features.device)[None] < lengths[:, None]
    return features.masked_fill(~valid[..., None], 0.0).sum(1) / lengths[:, None]


class BidirectionalLSTM(nn.Module):
    """A bidirectional LSTM over padded sequences, with the values that packed sequences give.

    The backward direction runs over each utterance's valid frames reversed. On a CPU this trains several times faster than
    packed sequences, which leave the fused kernel.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(size, hidden, batch_first=True)
        self.backwards = nn.LSTM(size, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(B, F, D) with `lengths` (B,) valid frames to (B, F, 2 × hidden), zero past each length."""
        position = torch.arange(x.shape[1], device=x.device)[None]
        valid = position < lengths[:, None]
        mirror = torch.where(valid, lengths[:, None] - 1 - position, position)[..., None]
        ahead = self.forwards(x)[0]
        back = self.backwards(x.gather(1, mirror.expand_as(x)))[0]
        both = torch.cat([ahead, back.gather(1, mirror.expand_as(back))], -1)
        return both.masked_fill(~valid[..., None], 0.0)
