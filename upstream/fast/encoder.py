"""Encoders of the wav2vec 2.0 family on packed utterances.

Beside `upstream.wav2vec2`, whose modules give the weights. Shape letters: T samples, F frames of all utterances, D features, L
hidden states.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.fast.convolutions import FrontEnd
from upstream.fast.linear import Linear
from upstream.fast.positions import PackedPositions
from upstream.fast.transformer import PackedTransformer
from upstream.layers.convolutions import Convolutions, frames_of
from upstream.layers.positions import PositionalConvolution
from upstream.layers.transformer import Transformer
from upstream.wav2vec2_config import Wav2Vec2Config


class Plain(Protocol):
    """What is read of a `Wav2Vec2Encoder`."""

    config: Wav2Vec2Config
    convolutions: Convolutions
    feature_norm: nn.LayerNorm | nn.Identity
    projection: nn.Linear | nn.Identity
    positional_convolution: PositionalConvolution | None
    norm: nn.LayerNorm
    transformer: Transformer


class PackedEncoder:
    """Waveforms to hidden states, each utterance as if by itself.

    Args:
        plain: the encoder; its layers must be transformer layers.
        dtype: the precision of activations and weights.
    """

    def __init__(self, plain: Plain, dtype: torch.dtype) -> None:
        assert plain.positional_convolution is not None
        self.config, self.dtype = plain.config, dtype
        self.front_end = FrontEnd(plain.convolutions, dtype)
        self.feature_norm = copy.deepcopy(plain.feature_norm).to(dtype)
        projection = plain.projection
        self.projection = Linear(projection.weight, projection.bias, dtype) if isinstance(projection, nn.Linear) else None
        self.positions = PackedPositions(plain.positional_convolution, dtype)
        self.norm = copy.deepcopy(plain.norm).to(dtype)
        self.transformer = PackedTransformer(plain.transformer, dtype)

    def frames(self, samples: int) -> int:
        """How many frames an utterance of so many samples has."""
        return frames_of(samples, self.config.conv_layers)

    def __call__(self, wavs: Sequence[Tensor], states: Tensor) -> None:
        """Fill states (L, F, D) with the frames of the waveforms (T,), one after the other."""
        lengths = [self.frames(len(wav)) for wav in wavs]
        features = states.new_empty(states.shape[1], self.config.conv_layers[-1][0])
        for wav, rows in zip(wavs, features.split(lengths), strict=True):
            rows.copy_(self.front_end(self._prepared(wav)))
        x = self.feature_norm(features)
        if self.projection is not None:
            x = self.projection(x)
        x = self.positions(x, lengths).add_(x)
        states[0] = x if self.config.pre_norm else self.norm(x)
        self.transformer(states, lengths)
        if self.config.pre_norm:
            states[-1] = self.norm(states[-1])

    def _prepared(self, wav: Tensor) -> Tensor:
        return F.layer_norm(wav, wav.shape, eps=self.config.normalize_eps) if self.config.normalize else wav
