"""Transformer layers on packed utterances: only attention knows where one ends.

Beside `upstream.layers.transformer` and `upstream.layers.attention`, whose modules give the weights. Shape letters: F frames of all
utterances, n frames of one, D features, H heads, d = D / H, L hidden states.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from upstream.fast.linear import Linear
from upstream.layers.options import TransformerOptions
from upstream.layers.positions import RelativeBias
from upstream.layers.transformer import Transformer, TransformerLayer

LONGEST_PRODUCT = 1500  # frames up to which two bfloat16 matmuls beat the fused attention on a CPU
MASK = 1 << 21  # values of a mask for one head: a longer utterance's queries attend block by block


class PackedTransformer:
    """A stack of transformer layers; Conformers have none of this kind."""

    def __init__(self, plain: Transformer, dtype: torch.dtype) -> None:
        self.near = by_distance(plain.positions).to(dtype) if isinstance(plain.positions, RelativeBias) else None
        layers = [PackedLayer(layer, plain.options, dtype) for layer in plain.layers if isinstance(layer, TransformerLayer)]
        self.layers = layers * plain.options.layers if plain.options.shared else layers

    def __call__(self, states: Tensor, lengths: Sequence[int]) -> None:
        """Fill states (L, F, D) from the first one, for utterances of `lengths` frames one after the other."""
        for depth, layer in enumerate(self.layers):
            states[depth + 1] = layer(states[depth], lengths, self.near)


def by_distance(positions: RelativeBias) -> Tensor:
    """WavLM's position bias (H, 2M + 1) of keys M frames before the query to M after it; those further away have that of M."""
    bias = positions(torch.empty(1, positions.max_distance + 1, device=positions.table.weight.device)).detach()
    return torch.cat([bias[:, 1:, 0].flip(1), bias[:, 0]], 1)


class PackedLayer:
    """Attention and feed-forward, each in a residual branch with its layer norm."""

    def __init__(self, plain: TransformerLayer, options: TransformerOptions, dtype: torch.dtype) -> None:
        attention, feed_forward = plain.attention, plain.feed_forward
        self.heads, self.pre_norm, self.gate = options.heads, options.pre_norm, attention.gate
        self.attention_norm = copy.deepcopy(plain.attention_norm).to(dtype)
        self.feed_forward_norm = copy.deepcopy(plain.feed_forward_norm).to(dtype)
        self.qkv = Linear(attention.qkv.weight, attention.qkv.bias, dtype)
        self.output = Linear(attention.output.weight, attention.output.bias, dtype)
        self.inner = Linear(feed_forward.inner.weight, feed_forward.inner.bias, dtype, options.activation)
        self.outer = Linear(feed_forward.output.weight, feed_forward.output.bias, dtype)

    def __call__(self, x: Tensor, lengths: Sequence[int], near: Tensor | None) -> Tensor:
        """Map x (F, D), utterances of `lengths` frames one after the other; `near` is what `by_distance` gives."""
        if self.pre_norm:
            x = self.attention(self.attention_norm(x), lengths, near).add_(x)
            return self.outer(self.inner(self.feed_forward_norm(x))).add_(x)
        x = self.attention_norm(self.attention(x, lengths, near).add_(x))
        return self.feed_forward_norm(self.outer(self.inner(x)).add_(x))

    def attention(self, x: Tensor, lengths: Sequence[int], near: Tensor | None) -> Tensor:
        """Self-attention within each utterance of x (F, D)."""
        qkv = self.qkv(x).unflatten(1, (3, self.heads, -1)).permute(1, 2, 0, 3)  # (3, H, F, d)
        heard = torch.empty_like(x)
        start = 0
        for frames in lengths:
            own = slice(start, start + frames)
            query, key, value = qkv[:, :, own]
            if self.gate is None or near is None:
                found = attend(query, key, value, None)
            else:
                found = attend_gated(query, key, value, self.gate(x[None, own].float())[0].to(x.dtype), near)
            heard[own] = found.transpose(0, 1).flatten(1)
            start += frames
        return self.output(heard)


def attend_gated(query: Tensor, key: Tensor, value: Tensor, gate: Tensor, near: Tensor) -> Tensor:
    """Attention (H, n, d) with `gate` (H, n, 1) times the bias by distance as a mask, in memory that grows with n and not its square."""
    frames, reach = query.shape[1], near.shape[1] // 2
    distances = torch.arange(1 - frames, frames, device=near.device).clamp(-reach, reach) + reach
    windows = near[:, distances].unfold(1, frames, 1)  # (H, n, n) in no memory: the last query's biases first
    found = torch.empty_like(query)
    rows = max(1, MASK // frames)
    for first in range(0, frames, rows):
        last = min(first + rows, frames)
        mask = gate[:, first:last].flip(1) * windows[:, frames - last : frames - first]
        found[:, first:last] = attend(query[:, first:last].flip(1), key, value, mask).flip(1)
    return found


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention (H, n, d) of query, key and value (H, n, d), with a mask (H, n, n) to be added to the scores."""
    frames, width = query.shape[1:]
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and frames <= LONGEST_PRODUCT:
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(width**-0.5)
        return torch.bmm((scores if mask is None else scores.add_(mask)).softmax(-1), value)
    mask = None if mask is None else mask[None]
    return F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)[0]
