"""The Conformer layer of wav2vec 2.0's Conformer variants.

Source: Conformer (Gulati et al., 2020, arXiv 2005.08100); fairseq modules/conformer_layer.py. Shape letters as in attention.py.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from upstream.layers.attention import RelativeAttention, RotaryAttention
from upstream.layers.options import ACTIVATIONS, TransformerOptions


class ConformerFeedForward(nn.Module):
    """Layer norm, then two linear maps with the activation between them."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(options.dim, eps=options.norm_eps)
        self.inner = nn.Linear(options.dim, options.ffn_dim)
        self.output = nn.Linear(options.ffn_dim, options.dim)
        self.activation = ACTIVATIONS[options.activation]
        self.inner_dropout = nn.Dropout(options.activation_dropout)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, F, D), each frame alone."""
        return self.dropout(self.output(self.inner_dropout(self.activation(self.inner(self.norm(x))))))


class ConformerConvolution(nn.Module):
    """Gated pointwise, then depthwise convolution over time."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        dim, kernel = options.dim, options.depthwise_kernel
        self.masked = options.mask_convolution
        self.norm = nn.LayerNorm(dim, eps=options.norm_eps)
        self.expand = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.batch_norm = nn.BatchNorm1d(dim)
        self.activation = ACTIVATIONS[options.activation]
        self.output = nn.Conv1d(dim, dim, 1, bias=False)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Map x (B, F, D); frames where `keys` (B, 1, 1, F) is False count as zero, unless padding shall be seen."""
        gated = F.glu(self.expand(self.norm(x).transpose(1, 2)), dim=1)
        if keys is not None and self.masked:
            gated = gated.masked_fill(~keys[:, 0], 0.0)
        y = self.output(self.activation(self.batch_norm(self.depthwise(gated))))
        return self.dropout(y.transpose(1, 2))


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each in a residual branch; a norm at the end."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.feed_forward_1 = ConformerFeedForward(options)
        self.attention_norm = nn.LayerNorm(options.dim, eps=options.norm_eps)
        self.attention = RelativeAttention(options) if options.positions == "relative" else RotaryAttention(options)
        self.dropout = nn.Dropout(options.dropout)
        self.convolution = ConformerConvolution(options)
        self.feed_forward_2 = ConformerFeedForward(options)
        self.norm = nn.LayerNorm(options.dim, eps=options.norm_eps)

    def forward(self, x: Tensor, keys: Tensor | None, positions: Any) -> Tensor:
        """Map x (B, F, D); `keys` and `positions` as in attention.py."""
        x = x + 0.5 * self.feed_forward_1(x)
        x = x + self.dropout(self.attention(self.attention_norm(x), keys, positions))
        x = x + self.convolution(x, keys)
        return self.norm(x + 0.5 * self.feed_forward_2(x))
