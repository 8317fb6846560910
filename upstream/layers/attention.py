"""Multi-head self-attention: plain, with WavLM's gated bias, and with a Conformer's relative or rotary positions.

All take x (B, F, D), a mask `keys` (B, 1, 1, F) that is True where a frame may be attended to (None: everywhere), and what their
positions module gives for F frames.

Shape letters: B batch, F frames, D features, H heads, d = D / H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.layers.options import TransformerOptions

GATE_PARTS = 4  # outputs summed for each of WavLM's two gates


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, F, D) to (B, H, F, d)."""
    batch, frames, dim = x.shape
    return x.view(batch, frames, heads, dim // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, H, F, d) to (B, F, D)."""
    batch, _, frames, _ = x.shape
    return x.transpose(1, 2).reshape(batch, frames, -1)


def with_keys(bias: Tensor, keys: Tensor | None, dtype: torch.dtype) -> Tensor:
    """An additive attention mask from a bias (B, H, F, F) and the frames that may be attended to."""
    if keys is not None:
        bias = bias.masked_fill(~keys, -torch.inf)
    return bias.to(dtype)


class SelfAttention(nn.Module):
    """Self-attention with one projection for query, key and value; with `positions: gated`, WavLM's gate on the position bias."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.dropout = options.attention_dropout
        self.qkv = nn.Linear(options.dim, 3 * options.dim)
        self.output = nn.Linear(options.dim, options.dim)
        self.gate = BiasGate(options.heads, options.head_dim) if options.positions == "gated" else None

    def forward(self, x: Tensor, keys: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """Attend; `positions` is a bias (H, F, F) or None."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        mask = keys
        if self.gate is not None:
            mask = with_keys(self.gate(x) * positions, keys, query.dtype)
        dropout = self.dropout if self.training else 0.0
        return self.output(join_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)))


class BiasGate(nn.Module):
    """WavLM's gate: how much each query of each head listens to the position bias.

    Source: WavLM (Chen et al., 2021, arXiv 2110.13900), section III-B; s3prl upstream/wavlm/modules.py.
    """

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(head_dim, 2 * GATE_PARTS)
        self.scale = nn.Parameter(torch.ones(1, heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The gate (B, H, F, 1) from the attention's input (B, F, D)."""
        heads = split_heads(x, self.scale.shape[1])
        parts = self.linear(heads).unflatten(-1, (2, GATE_PARTS)).sum(-1)
        update, reset = torch.sigmoid(parts).unsqueeze(-1).unbind(-2)
        return update * (reset * self.scale - 1.0) + 2.0


class ConformerAttention(nn.Module):
    """The projections that both of a Conformer's kinds of attention have."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.dropout = options.attention_dropout
        self.query, self.key, self.value, self.output = (nn.Linear(options.dim, options.dim) for _ in range(4))

    def heads_of(self, projection: nn.Linear, x: Tensor) -> Tensor:
        """A projection of x (B, F, D) as (B, H, F, d)."""
        return split_heads(projection(x), self.heads)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """The attention's output (B, F, D) from query, key and value (B, H, F, d)."""
        dropout = self.dropout if self.training else 0.0
        return self.output(join_heads(F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)))


class RelativeAttention(ConformerAttention):
    """Attention of content and distance, as in Transformer-XL.

    Source: Dai et al., 2019, arXiv 1901.02860, section 3.3; fairseq modules/espnet_multihead_attention.py.
    """

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__(options)
        self.position = nn.Linear(options.dim, options.dim, bias=False)
        self.content_bias = nn.Parameter(nn.init.xavier_uniform_(torch.empty(options.heads, options.head_dim)))
        self.position_bias = nn.Parameter(nn.init.xavier_uniform_(torch.empty(options.heads, options.head_dim)))

    def forward(self, x: Tensor, keys: Tensor | None, positions: Tensor) -> Tensor:
        """Attend; `positions` (2F - 1, D) stands for the distances F - 1 down to 1 - F."""
        query = self.heads_of(self.query, x)
        distances = split_heads(self.position(positions)[None], self.heads)
        by_distance = (query + self.position_bias[:, None]) @ distances.transpose(-2, -1)
        bias = by_pairs(by_distance) / query.shape[-1] ** 0.5
        content = query + self.content_bias[:, None]
        return self.attend(content, self.heads_of(self.key, x), self.heads_of(self.value, x), with_keys(bias, keys, content.dtype))


def by_pairs(scores: Tensor) -> Tensor:
    """From scores (B, H, F, 2F - 1) by distance to (B, H, F, F) by query and key: query i and key j are i - j apart."""
    frames = scores.shape[2]
    steps = torch.arange(frames, device=scores.device)
    index = frames - 1 - steps[:, None] + steps
    return scores.gather(-1, index.expand(*scores.shape[:3], frames))


class RotaryAttention(ConformerAttention):
    """Attention whose queries and keys are made from inputs turned by an angle that grows with the frame's number.

    The published Conformers turn the input of the projections, not their output. Source: RoFormer (Su et al., 2021, arXiv
    2104.09864); fairseq modules/{rotary_positional_embedding,espnet_multihead_attention}.py.
    """

    def forward(self, x: Tensor, keys: Tensor | None, positions: tuple[Tensor, Tensor]) -> Tensor:
        """Attend; `positions` are cosines and sines (F, d)."""
        turned = join_heads(rotated(split_heads(x, self.heads), *positions))
        return self.attend(self.heads_of(self.query, turned), self.heads_of(self.key, turned), self.heads_of(self.value, x), keys)


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn x (..., F, d), feature j together with feature j + d / 2."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines
