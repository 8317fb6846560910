"""wav2vec 2.0, HuBERT, WavLM, data2vec, TERA2, DistilHuBERT and the Conformers: convolutions over the waveform, then a transformer.

One architecture: the families differ in configuration, and in pre-training.
Sources: wav2vec 2.0 (arXiv 2006.11477), HuBERT (2106.07447), WavLM (2110.13900), data2vec (2202.03555); fairseq
models/{wav2vec,hubert}. Shape letters: B batch, T samples, F frames, D features, L hidden states, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.base import Frozen, Padding, Precision, Representation, normalization_note
from upstream.fast.encoder import PackedEncoder
from upstream.fast.frozen import DTYPES, FrozenForward
from upstream.formats.wav2vec2 import read
from upstream.layers.convolutions import Convolutions, frames_of
from upstream.layers.initial import draw_normal
from upstream.layers.lengths import valid_frames
from upstream.layers.positions import PositionalConvolution
from upstream.layers.transformer import Transformer
from upstream.native_upstream import NativeUpstream
from upstream.settings import parse
from upstream.wav2vec2_config import Wav2Vec2Config

ARCHITECTURE = ("layers", "dim", "heads", "ffn_dim", "conv_layers", "conv_norm", "pre_norm", "block", "positions")


class Wav2Vec2Encoder(nn.Module):
    """Waveforms to hidden states.

    Args:
        config: the architecture.
        alone: every utterance as if by itself; otherwise padding acts as it does in the published code.
    """

    def __init__(self, config: Wav2Vec2Config, alone: bool = True) -> None:
        super().__init__()
        self.config, self.alone = config, alone
        channels = config.conv_layers[-1][0]
        self.convolutions = Convolutions(config.conv_layers, config.conv_norm, config.conv_bias, alone)
        self.feature_norm = nn.LayerNorm(channels) if config.feature_norm else nn.Identity()
        self.projection = nn.Linear(channels, config.dim) if config.projection else nn.Identity()
        self.input_dropout = nn.Dropout(config.input_dropout)
        positional = config.positional_convolution
        self.positional_convolution = PositionalConvolution(config.dim, **dict(positional), masked=alone) if positional else None
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.transformer = Transformer(config.transformer_options(alone))
        draw_normal(self.transformer)

    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples.

        Returns: L states (B, F, D), the transformer's input first and its normalised output last, and the valid frames (B,).
        """
        wavs, scale = self.prepared(wavs, lengths), self.config.feature_grad_mult
        with torch.set_grad_enabled(torch.is_grad_enabled() and scale > 0):  # at 0 the convolutions do not train
            features = scaled_gradient(self.convolutions(wavs, lengths), scale).transpose(1, 2)
        frames = self.frames(lengths, wavs.shape[1])
        return self.encode(features, frames), frames

    def encode(self, features: Tensor, frames: Tensor) -> list[Tensor]:
        """L states (B, F, D) of the convolutions' frames (B, F, C), of which `frames` (B,) are valid."""
        x = self.input_dropout(self.projection(self.feature_norm(features)))
        x = x.masked_fill(~valid_frames(frames.to(x.device), x.shape[1])[:, :, None], 0.0)
        if self.positional_convolution is not None:
            x = x + self.positional_convolution(x, frames)
        if not self.config.pre_norm:
            x = self.norm(x)
        states = self.transformer(self.dropout(x), frames)
        if self.config.pre_norm:
            states[-1] = self.norm(states[-1])
        return states

    def prepared(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms normalised where the checkpoint asks for it, zero past their lengths."""
        if self.config.normalize:
            pairs = zip(wavs, lengths.tolist(), strict=True)
            rows = [F.layer_norm(wav[:count], (count,), eps=self.config.normalize_eps) for wav, count in pairs]
            return torch.stack([F.pad(row, (0, wavs.shape[1] - len(row))) for row in rows])
        return wavs.masked_fill(~valid_frames(lengths.to(wavs.device), wavs.shape[1]), 0.0)

    def frames(self, lengths: Tensor, samples: int) -> Tensor:
        """Valid frames (B,) of utterances with `lengths` (B,) samples in a batch padded to `samples`."""
        layers = self.config.conv_layers
        if self.alone or self.config.padding_rule == "lengths":
            return frames_of(lengths, layers)
        total = frames_of(samples, layers)
        chunk = samples // total
        return (lengths.clamp(max=total * chunk) + chunk - 1) // chunk


def scaled_gradient(x: Tensor, factor: float) -> Tensor:
    """`x` itself, whose gradient is `factor` times what arrives."""
    if factor == 1 or not x.requires_grad:
        return x
    return x.detach() + factor * (x - x.detach())


class Wav2Vec2(NativeUpstream):
    """An encoder of the wav2vec 2.0 family.

    Args:
        config: the architecture.
        padding: `alone`, every utterance as if by itself; `reference`, as fairseq and s3prl treat a padded batch.
    """

    name = "wav2vec2"
    config: Wav2Vec2Config
    encoder: Wav2Vec2Encoder

    def __init__(self, config: Wav2Vec2Config | None = None, padding: Padding = "alone") -> None:
        super().__init__()
        self.config = config or Wav2Vec2Config()
        self.padding = padding
        self.encoder = Wav2Vec2Encoder(self.config, padding == "alone")
        self.family = self.config.family
        self.stride = self.config.stride
        self.dim = self.config.dim
        self.num_states = self.config.layers + 1
        self.minimum_samples = self.config.minimum_samples
        self.notes = (normalization_note(self.config.normalize_eps if self.config.normalize else None),)

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> Wav2Vec2:
        """Load a native or Hugging Face folder, or a file of fairseq, s3prl or torchaudio."""
        checkpoint = read(path, cls.name)
        model = cls(checkpoint.config, padding)
        model.load_encoder(checkpoint.tensors, str(path))
        if checkpoint.notes:
            model.notes = checkpoint.notes
        return model

    @classmethod
    def from_config(cls, config: Mapping[str, Any], padding: Padding = "alone") -> Wav2Vec2:
        """An encoder with random weights."""
        return cls(parse(Wav2Vec2Config, config, "config"), padding)

    def differences(self, config: Mapping[str, Any]) -> list[str]:
        """What of the architecture is not as `config` says, in words."""
        expected = parse(Wav2Vec2Config, config, "config")
        pairs = ((name, getattr(self.config, name), getattr(expected, name)) for name in ARCHITECTURE)
        return [f"{name} {own}, not {other}" for name, own, other in pairs if own != other]

    def configuration(self) -> dict[str, Any]:
        """The architecture, without what only pre-training reads."""
        return self.config.model_dump(mode="json", exclude={"pretraining"})

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        self.check_lengths(lengths)
        states, frames = self.encoder(wavs, lengths)
        hidden = torch.stack(states)
        valid = valid_frames(frames.to(hidden.device), hidden.shape[2])
        return Representation(hidden.masked_fill(~valid[:, :, None], 0.0), frames)

    def frozen(self, precision: Precision = "fp32") -> Frozen | None:
        """Utterances packed without padding; None for Conformers and for `padding: reference`."""
        if self.padding != "alone" or self.config.block != "transformer":
            return None
        dtype = DTYPES[precision]
        return FrozenForward(self, lambda: PackedEncoder(self.encoder, dtype), dtype)
