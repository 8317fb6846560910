"""vq-wav2vec: wav2vec whose aggregator sees frames replaced by entries of a codebook.

Source: vq-wav2vec (Baevski et al., 2020, arXiv 1910.05453); fairseq modules/{gumbel,kmeans}_vector_quantizer.py.
Shape letters: B batch, T samples, C channels, F frames, G groups, V codes a group, d features of an entry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from upstream.errors import UpstreamError
from upstream.layers.convolutions import UtteranceNorm
from upstream.layers.lengths import own_lengths, valid_frames
from upstream.layers.options import ACTIVATIONS
from upstream.wav2vec import Extractor, Wav2Vec, Wav2VecEncoder
from upstream.wav2vec_config import QuantizerConfig, Wav2VecConfig


@dataclass(frozen=True)
class Quantized:
    """Frames as entries of the codebook.

    Attributes:
        vectors: (B, C, F), the chosen entries of all groups side by side; gradients pass to what was quantized.
        codes: (B, F, G) int64, which entries those are.
    """

    vectors: Tensor
    codes: Tensor


class Quantizer(nn.Module, ABC):
    """Chooses an entry for every group of every frame."""

    codebook: nn.Parameter

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__()
        self.options, self.dim, self.alone = quantizer_options(config), config.dim, alone

    @property
    def entries(self) -> int:
        """d."""
        return self.dim // self.options.groups

    @abstractmethod
    def forward(self, z: Tensor, frames: Tensor) -> Quantized:
        """Quantize z (B, C, F) with `frames` (B,) valid ones."""

    def chosen(self, table: Tensor, codes: Tensor) -> Tensor:
        """Entries (B, F, G, d) of a table (G, V, d)."""
        return torch.stack([table[group][codes[:, :, group]] for group in range(self.options.groups)], dim=2)


class GumbelQuantizer(Quantizer):
    """The entry with the largest logit. Pre-training draws entries with Gumbel noise; the encoder does not, in training neither."""

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__(config, alone)
        options = self.options
        sizes = [self.dim, *[2 * self.dim] * (options.depth - 1), options.groups * options.codes]
        self.activation = ACTIVATIONS[config.activation]
        self.projection = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in zip(sizes, sizes[1:], strict=False))
        self.codebook = nn.Parameter(torch.rand(1, (1 if options.shared else options.groups) * options.codes, self.entries))

    def forward(self, z: Tensor, frames: Tensor) -> Quantized:  # noqa: ARG002 - each frame is alone here
        """See `Quantizer`; the gradient goes to the logits as if their softmax had mixed the entries."""
        x = z.transpose(1, 2)
        for layer in self.projection[:-1]:
            x = self.activation(layer(x))
        logits = self.projection[-1](x).unflatten(2, (self.options.groups, self.options.codes))
        codes = logits.argmax(dim=-1)
        table = self.codebook.view(-1, self.options.codes, self.entries).expand(self.options.groups, -1, -1)
        vectors = self.chosen(table, codes)
        if logits.requires_grad:
            mixed = torch.einsum("bfgv,gvd->bfgd", logits.softmax(dim=-1), table.detach())
            vectors = vectors + (mixed - mixed.detach())
        return Quantized(vectors.flatten(2).transpose(1, 2), codes)


class KMeansQuantizer(Quantizer):
    """The entry that is nearest to the group's projected features."""

    def __init__(self, config: Wav2VecConfig, alone: bool) -> None:
        super().__init__(config, alone)
        options = self.options
        self.projection = nn.Conv1d(self.dim, self.dim, 1, groups=options.groups, bias=False)
        self.norm = UtteranceNorm(options.groups, self.dim)
        self.codebook = nn.Parameter(0.01 * torch.randn(options.codes, 1 if options.shared else options.groups, self.entries))

    def forward(self, z: Tensor, frames: Tensor) -> Quantized:
        """See `Quantizer`; the gradient goes to the features and to the entries, as if each were the result."""
        projected = self.norm(self.projection(z), own_lengths(frames, z.shape[2], self.alone))
        points = projected.unflatten(1, (self.options.groups, self.entries)).permute(0, 3, 1, 2)
        table = self.codebook.transpose(0, 1).expand(self.options.groups, -1, -1)
        codes = torch.stack([nearest(points[:, :, group], table[group]) for group in range(self.options.groups)], dim=2)
        vectors = self.chosen(table, codes)
        if points.requires_grad:
            vectors = vectors + (points - points.detach())
        return Quantized(vectors.flatten(2).transpose(1, 2), codes)


@torch.no_grad()
def nearest(points: Tensor, entries: Tensor) -> Tensor:
    """Which of the entries (V, d) is nearest to each point (B, F, d); by differences: products would lose close calls."""
    return torch.cdist(points, entries, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=-1)


def quantizer_options(config: Wav2VecConfig) -> QuantizerConfig:
    """The quantizer's part of a configuration.

    Raises:
        UpstreamError: it has none.
    """
    if config.quantizer is None:
        raise UpstreamError("vq_wav2vec: the configuration has no quantizer; use -u wav2vec")
    return config.quantizer


def build_quantizer(config: Wav2VecConfig, alone: bool) -> Quantizer:
    """The quantizer of a configuration; `alone` keeps padding out of its norm."""
    kinds: dict[str, type[Quantizer]] = {"gumbel": GumbelQuantizer, "kmeans": KMeansQuantizer}
    return kinds[quantizer_options(config).kind](config, alone)


def quantize(extractor: Extractor, quantizer: Quantizer, wavs: Tensor, lengths: Tensor, frames: Tensor) -> tuple[Tensor, Quantized]:
    """z (B, C, F) of waveforms (B, T), and its entries; in float32 whatever the precision around it: half would choose others.

    Args:
        lengths: valid samples (B,).
        frames: valid frames (B,).
    """
    with torch.autocast(wavs.device.type, enabled=False):
        z = extractor(wavs.float(), lengths)
        return z, quantizer(z, frames)


class VqWav2VecEncoder(Wav2VecEncoder):
    """`Wav2VecEncoder` with a quantizer before the aggregator."""

    def __init__(self, config: Wav2VecConfig, alone: bool = True) -> None:
        super().__init__(config, alone)
        self.quantizer = build_quantizer(config, alone)

    def extract(self, wavs: Tensor, lengths: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, C, F), and its entries."""
        z, quantized = quantize(self.extractor, self.quantizer, wavs, lengths, frames)
        return z, quantized.vectors


class VqWav2Vec(Wav2Vec):
    """vq-wav2vec; the states are those of wav2vec, where z is not quantized and all others follow from codes."""

    name = "vq_wav2vec"
    family = "vq_wav2vec"
    code_version = 2  # since 1, codes do not change with precision
    encoder: VqWav2VecEncoder

    @classmethod
    def default_config(cls) -> Wav2VecConfig:
        """The published Gumbel model."""
        layers = ((512, 10, 5), (512, 8, 4), *((512, 4, 2),) * 3, *((512, 1, 1),) * 3)
        quantizer = QuantizerConfig(kind="gumbel", shared=True, depth=2)
        return Wav2VecConfig(conv_layers=layers, activation="gelu", log_compression=False, quantizer=quantizer)

    def build_encoder(self, alone: bool) -> VqWav2VecEncoder:
        """The network of this family; `alone` keeps padding out of its norms."""
        return VqWav2VecEncoder(self.config, alone)

    @torch.no_grad()
    def codes(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Discrete codes of waveforms (B, T) with `lengths` (B,) valid samples each.

        Returns: codes (B, F, G) int64, zero past an utterance's end, and the valid frames (B,).

        Raises:
            UpstreamError: an utterance is shorter than `minimum_samples`.
        """
        self.check_lengths(lengths)
        frames = self.frames(lengths)
        codes = quantize(self.encoder.extractor, self.encoder.quantizer, wavs, lengths, frames)[1].codes
        valid = valid_frames(frames.to(codes.device), codes.shape[1])
        return codes.masked_fill(~valid[:, :, None], 0), frames
