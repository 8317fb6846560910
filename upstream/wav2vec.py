"""wav2vec: a convolutional encoder of the waveform and a causal convolutional aggregator over its frames.

Every convolution is followed by a group norm with one group: its statistics are those of the whole utterance. With `padding: alone`
they come from the utterance's own frames; with `reference` padding counts, as in the published code.
Source: wav2vec (Schneider et al., 2019, arXiv 1904.05862); fairseq models/wav2vec/wav2vec.py; s3prl upstream/wav2vec/expert.py.
Shape letters: B batch, T samples, C channels, F frames, D features, L hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.base import Padding, Representation
from upstream.errors import UpstreamError
from upstream.formats.wav2vec import read
from upstream.layers.convolutions import ConvLayer, Convolution, UtteranceNorm, frames_of
from upstream.layers.lengths import own_lengths, valid_frames
from upstream.layers.options import ACTIVATIONS
from upstream.native_upstream import NativeUpstream
from upstream.settings import parse
from upstream.wav2vec_config import Wav2VecConfig


def normed(inputs: int, size: ConvLayer, config: Wav2VecConfig, bias: bool, dropout: float = 0.0) -> Convolution:
    """A convolution with this family's norm and activation."""
    return Convolution(inputs, size, bias, UtteranceNorm(1, size[0], affine=config.affine), ACTIVATIONS[config.activation], dropout)


class Extractor(nn.Module):
    """Waveforms to frames, called z in the paper.

    Args:
        config: the architecture.
        alone: keep padding out of the norms.
    """

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__()
        self.config, self.alone = config, alone
        inputs = [1, *(channels for channels, _, _ in config.conv_layers)]
        self.layers = nn.ModuleList(
            normed(source, size, config, bias=False) for source, size in zip(inputs, config.conv_layers, strict=False)
        )

    def forward(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Frames (B, C, F) of waveforms (B, T) with `lengths` (B,) valid samples, whatever stands past them."""
        x = wavs.masked_fill(~valid_frames(lengths.to(wavs.device), wavs.shape[1]), 0.0)[:, None]
        own = own_lengths(lengths, wavs.shape[1], self.alone)
        for layer, size in zip(self.layers, self.config.conv_layers, strict=True):
            own = None if own is None else [frames_of(count, [size]) for count in own]
            x = layer(x, own)
        return (x.abs() + 1).log() if self.config.log_compression else x


class Aggregator(nn.Module):
    """Frames to contexts, called c in the paper: each sees its own frame and those before it.

    Args:
        config: the architecture.
        alone: keep padding out of the norms.
    """

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__()
        self.config, self.alone = config, alone
        self.padding = "replicate" if config.aggregator_padding == "replicate" else "constant"
        self.layers = nn.ModuleList(
            normed(config.dim, (config.dim, kernel, 1), config, config.aggregator_bias, config.dropout) for kernel in config.kernels
        )

    def forward(self, x: Tensor, frames: Tensor) -> list[Tensor]:
        """The output (B, C, F) of every layer for x (B, C, F) with `frames` (B,) valid ones."""
        own = own_lengths(frames, x.shape[2], self.alone)
        outputs = []
        for layer, kernel in zip(self.layers, self.config.kernels, strict=True):
            made = layer(F.pad(x, (kernel - 1, 0), mode=self.padding), own)
            x = (made + x) * math.sqrt(self.config.residual_scale) if self.config.skip_connections else made
            outputs.append(x)
        return outputs


class Wav2VecEncoder(nn.Module):
    """Waveforms to hidden states.

    Args:
        config: the architecture.
        alone: every utterance as if by itself; otherwise padding counts in every norm, as in the published code.
    """

    def __init__(self, config: Wav2VecConfig, alone: bool = True) -> None:
        super().__init__()
        self.extractor = Extractor(config, alone)
        self.dropout = nn.Dropout(config.feature_dropout)
        self.aggregator = Aggregator(config, alone)

    def forward(self, wavs: Tensor, lengths: Tensor, frames: Tensor) -> list[Tensor]:
        """L states (B, C, F) of waveforms (B, T): z, and each aggregator layer's output, the last of which is c."""
        z, inputs = self.extract(wavs, lengths, frames)
        return [z, *self.aggregator(self.dropout(inputs), frames)]

    def extract(self, wavs: Tensor, lengths: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - vq-wav2vec needs the frames
        """z (B, C, F), and what the aggregator gets of it."""
        z = self.extractor(wavs, lengths)
        return z, z


class Wav2Vec(NativeUpstream):
    """wav2vec with the states that SUPERB's weighted sum is learnt on: z, each aggregator layer's output, c.

    Args:
        config: the architecture.
        padding: `alone`, every utterance as if by itself; `reference`, as fairseq and s3prl treat a padded batch.
    """

    name = "wav2vec"
    family = "wav2vec"
    config: Wav2VecConfig
    encoder: Wav2VecEncoder

    def __init__(self, config: Wav2VecConfig | None = None, padding: Padding = "alone") -> None:
        super().__init__()
        self.config = config or self.default_config()
        if self.config.family != self.family:
            raise UpstreamError(
                f"the configuration is that of a {self.config.family} encoder, not {self.family}; use -u {self.config.family}"
            )
        self.padding = padding
        self.encoder = self.build_encoder(padding == "alone")
        self.stride = self.config.stride
        self.dim = self.config.dim
        self.num_states = len(self.config.kernels) + 1
        self.minimum_samples = self.config.minimum_samples

    @classmethod
    def default_config(cls) -> Wav2VecConfig:
        """The published architecture."""
        return Wav2VecConfig()

    def build_encoder(self, alone: bool) -> Wav2VecEncoder:
        """The network of this family; `alone` keeps padding out of its norms."""
        return Wav2VecEncoder(self.config, alone)

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> Wav2Vec:
        """Load a native folder, or a file of fairseq or s3prl."""
        if path is None:
            raise UpstreamError(f"{cls.name}: needs a checkpoint (-k): a file, a folder or OWNER/NAME on the hub")
        config, tensors = read(path)
        if config.family != cls.family:
            raise UpstreamError(f"{path}: holds a {config.family} encoder, not {cls.family}; use -u {config.family}")
        model = cls(config, padding)
        model.load_encoder(tensors, str(path))
        return model

    @classmethod
    def from_config(cls, config: Mapping[str, Any], padding: Padding = "alone") -> Wav2Vec:
        """An encoder with random weights."""
        return cls(parse(Wav2VecConfig, config, f"{cls.name}: config"), padding)

    def configuration(self) -> dict[str, Any]:
        """The architecture, without what only pre-training reads."""
        return self.config.model_dump(mode="json", exclude={"pretraining"})

    def frames(self, lengths: Tensor) -> Tensor:
        """Valid frames (B,) of utterances with `lengths` (B,) samples."""
        return frames_of(lengths.to(torch.int64), self.config.conv_layers)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""
        self.check_lengths(lengths)
        frames = self.frames(lengths)
        states = torch.stack(self.encoder(wavs, lengths, frames)).transpose(2, 3)
        valid = valid_frames(frames.to(states.device), states.shape[2])
        return Representation(states.masked_fill(~valid[:, :, None], 0.0), frames)
