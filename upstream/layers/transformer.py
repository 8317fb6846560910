"""The one transformer encoder that all families share.

Post-LN (BERT, TERA, wav2vec 2.0 Base) and pre-LN layers over a fused qkv projection. What a family adds around it (input
projection, positions, the norm of the input, norms of the emitted states) stays in the family's own file.

Shape letters: B batch, F frames, D features, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.errors import UpstreamError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "swish": F.silu}


@dataclass(frozen=True)
class TransformerOptions:
    """Shape and behaviour of a stack of layers.

    Attributes:
        dim: D.
        layers: number of layers.
        heads: attention heads; must divide `dim`.
        ffn_dim: inner size of the feed-forward block.
        activation: `gelu` (exact), `relu` or `swish`.
        dropout: on the output of attention and feed-forward.
        attention_dropout: on the attention probabilities.
        activation_dropout: after the activation.
        norm_eps: layer norm's epsilon, inside the root.
        pre_norm: normalise before each block instead of after the residual sum.
        shared: one layer's weights used at every depth.
    """

    dim: int
    layers: int
    heads: int
    ffn_dim: int
    activation: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    norm_eps: float = 1e-5
    pre_norm: bool = False
    shared: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UpstreamError(f"transformer: {self.heads} heads do not divide {self.dim} features")
        if self.activation not in ACTIVATIONS:
            raise UpstreamError(f"transformer: unknown activation '{self.activation}'; known: {', '.join(ACTIVATIONS)}")


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Mask (B, F), True on the first `lengths` (B,) frames of each row."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class SelfAttention(nn.Module):
    """Multi-head self-attention with one projection for query, key and value."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.dropout = options.attention_dropout
        self.qkv = nn.Linear(options.dim, 3 * options.dim)
        self.output = nn.Linear(options.dim, options.dim)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Attend from every frame of x (B, F, D) to the frames where `keys` (B, 1, 1, F) is True; None: to all."""
        batch, frames, dim = x.shape
        query, key, value = self.qkv(x).view(batch, frames, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).reshape(batch, frames, dim))


class FeedForward(nn.Module):
    """Two linear maps with the activation between them."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[options.activation]
        self.inner = nn.Linear(options.dim, options.ffn_dim)
        self.dropout = nn.Dropout(options.activation_dropout)
        self.output = nn.Linear(options.ffn_dim, options.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, F, D), each frame alone."""
        return self.output(self.dropout(self.activation(self.inner(x))))


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each in a residual branch with its layer norm."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.pre_norm = options.pre_norm
        self.attention = SelfAttention(options)
        self.attention_norm = nn.LayerNorm(options.dim, eps=options.norm_eps)
        self.feed_forward = FeedForward(options)
        self.feed_forward_norm = nn.LayerNorm(options.dim, eps=options.norm_eps)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        """Map x (B, F, D); `keys` as in `SelfAttention`."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), keys))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, keys)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Transformer(nn.Module):
    """A stack of layers that gives back every state."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.options = options
        stored = 1 if options.shared else options.layers
        self.layers = nn.ModuleList(TransformerLayer(options) for _ in range(stored))

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Encode x (B, F, D) with `lengths` (B,) valid frames.

        Returns: the input and each layer's output, `layers + 1` tensors (B, F, D); frames past a length are not meaningful.
        """
        frames = x.shape[1]
        padded = bool((lengths < frames).any())
        keys = valid_frames(lengths.to(x.device), frames)[:, None, None, :] if padded else None
        states = [x]
        for depth in range(self.options.layers):
            layer = self.layers[0 if self.options.shared else depth]
            states.append(layer(states[-1], keys))
        return states
