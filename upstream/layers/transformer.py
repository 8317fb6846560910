"""The one transformer encoder that all families share.

Post-LN (BERT, TERA, wav2vec 2.0 Base), pre-LN or Conformer layers. What a family adds around it (input projection, absolute
positions, the norm of the input, norms of the emitted states) stays in the family's own file.

Shape letters: B batch, F frames, D features, H heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from upstream.layers.attention import SelfAttention
from upstream.layers.conformer import ConformerLayer
from upstream.layers.lengths import valid_frames
from upstream.layers.options import ACTIVATIONS, TransformerOptions
from upstream.layers.positions import RelativeBias, RelativeSinusoids, RotaryAngles

POSITIONS = {"gated": RelativeBias, "relative": RelativeSinusoids, "rotary": RotaryAngles}


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

    def forward(self, x: Tensor, keys: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """Map x (B, F, D); `keys` and `positions` as in attention.py."""
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), keys, positions))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, keys, positions)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Transformer(nn.Module):
    """A stack of layers that gives back every state."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.options = options
        positions = POSITIONS.get(options.positions)
        self.positions = positions(options) if positions else None
        layer = ConformerLayer if options.block == "conformer" else TransformerLayer
        self.layers = nn.ModuleList(layer(options) for _ in range(1 if options.shared else options.layers))

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """Encode x (B, F, D) with `lengths` (B,) valid frames.

        Returns: the input and each layer's output, `layers + 1` tensors (B, F, D); frames past a length are not meaningful.
        """
        frames = x.shape[1]
        padded = bool((lengths < frames).any())
        keys = valid_frames(lengths.to(x.device), frames)[:, None, None, :] if padded else None
        positions = None if self.positions is None else self.positions(x)
        states = [x]
        for depth in range(self.options.layers):
            layer = self.layers[0 if self.options.shared else depth]
            states.append(layer(states[-1], keys, positions))
        return states
