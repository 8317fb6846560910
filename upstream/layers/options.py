"""Shape and behaviour of a stack of layers, for all of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from upstream.errors import UpstreamError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "swish": F.silu}

Positions = Literal["none", "relative", "rotary", "gated"]


@dataclass(frozen=True)
class TransformerOptions:
    """What a `Transformer` is built from.

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
        block: `transformer` layers, or those of a Conformer.
        positions: what attention knows of distance: nothing, WavLM's gated bias, or a Conformer's relative or rotary positions.
        buckets, max_distance: of the gated bias.
        depthwise_kernel: of a Conformer's convolution, odd.
        mask_convolution: keep padding out of a Conformer's convolution.
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
    block: Literal["transformer", "conformer"] = "transformer"
    positions: Positions = "none"
    buckets: int = 320
    max_distance: int = 800
    depthwise_kernel: int = 31
    mask_convolution: bool = True

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise UpstreamError(f"transformer: {self.heads} heads do not divide {self.dim} features")
        if self.activation not in ACTIVATIONS:
            raise UpstreamError(f"transformer: unknown activation '{self.activation}'; known: {', '.join(ACTIVATIONS)}")
        allowed = ("relative", "rotary") if self.block == "conformer" else ("none", "gated")
        if self.positions not in allowed:
            raise UpstreamError(f"transformer: {self.block} layers take positions {' or '.join(allowed)}, not '{self.positions}'")

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.dim // self.heads
