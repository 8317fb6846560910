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
from upstream.layers.transformer import Transformer, TransformerLayer

LONGEST_PRODUCT = 1500  # frames up to which two bfloat16 matmuls beat the fused attention on a CPU


class PackedTransformer:
    """A stack of transformer layers; Conformers have none of this kind."""

    def __init__(self, plain: Transformer, dtype: torch.dtype) -> None:
        self.dtype, self.positions = dtype, plain.positions
        layers = [PackedLayer(layer, plain.options, dtype) for layer in plain.layers if isinstance(layer, TransformerLayer)]
        self.layers = layers * plain.options.layers if plain.options.shared else layers

    def __call__(self, states: Tensor, lengths: Sequence[int]) -> None:
        """Fill states (L, F, D) from the first one, for utterances of `lengths` frames one after the other."""
        bias = self._bias(max(lengths), states.device)
        for depth, layer in enumerate(self.layers):
            states[depth + 1] = layer(states[depth], lengths, bias)

    def _bias(self, frames: int, device: torch.device) -> Tensor | None:
        """WavLM's position bias (H, n, n) for the longest utterance: that of a shorter one is its beginning."""
        if self.positions is None:
            return None
        return self.positions(torch.empty(1, frames, device=device)).to(self.dtype).contiguous()


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

    def __call__(self, x: Tensor, lengths: Sequence[int], bias: Tensor | None) -> Tensor:
        """Map x (F, D), utterances of `lengths` frames one after the other; `bias` (H, n, n) as for the longest."""
        if self.pre_norm:
            x = self.attention(self.attention_norm(x), lengths, bias).add_(x)
            return self.outer(self.inner(self.feed_forward_norm(x))).add_(x)
        x = self.attention_norm(self.attention(x, lengths, bias).add_(x))
        return self.feed_forward_norm(self.outer(self.inner(x)).add_(x))

    def attention(self, x: Tensor, lengths: Sequence[int], bias: Tensor | None) -> Tensor:
        """Self-attention within each utterance of x (F, D)."""
        qkv = self.qkv(x).unflatten(1, (3, self.heads, -1)).permute(1, 2, 0, 3)  # (3, H, F, d)
        heard = torch.empty_like(x)
        start = 0
        for frames in lengths:
            own = slice(start, start + frames)
            mask = None
            if self.gate is not None and bias is not None:
                mask = self.gate(x[None, own].float())[0].to(x.dtype) * bias[:, :frames, :frames]
            query, key, value = qkv[:, :, own]
            heard[own] = attend(query, key, value, mask).transpose(0, 1).flatten(1)
            start += frames
        return self.output(heard)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention (H, n, d) of query, key and value (H, n, d), with a mask (H, n, n) to be added to the scores."""
    frames, width = query.shape[1:]
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and frames <= LONGEST_PRODUCT:
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(width**-0.5)
        return torch.bmm((scores if mask is None else scores.add_(mask)).softmax(-1), value)
    mask = None if mask is None else mask[None]
    return F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)[0]
