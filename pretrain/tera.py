"""TERA: reconstruct acoustic features from altered ones.

The input loses blocks of time and a band of frequency, and is disturbed in magnitude; the encoder and a small head give back
the unaltered features, and the L1 distance on the altered positions is the loss.
Source: Liu et al., 2021 (arXiv 2007.06028); s3prl pretrain/mockingjay/task.py. Ours beside it: corrupted input audio (noise,
telephone band) with the clean features as target, and an initialisation that starts attention off near the diagonal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from corpus import librispeech, locate
from corpus.batching import Batching
from engine.task import Block, Card, CorpusBlock, Objective
from upstream.features.logmel import LogMelConfig
from upstream.layers.lengths import valid_frames
from upstream.layers.transformer import TransformerLayer
from upstream.settings import Settings
from upstream.tera import SpecHead, TaskConfig, Tera, TeraConfig, TransformerConfig, front_end, head_tensors

if TYPE_CHECKING:
    from lhotse import CutSet


class Alteration(TaskConfig):
    """The `task` block of the published recipes; proportions are shares of frames, of bins, or probabilities.

    Attributes:
        mask_proportion: frames selected in an utterance, in spans of `mask_consecutive_min` to `mask_consecutive_max` frames.
        mask_allow_overlap: spans may overlap; else they start on a grid of `mask_bucket_ratio` span widths.
        mask_frequency: widest band set to zero, as a share of the bins.
        noise_proportion: probability that a batch gets additive Gaussian noise of standard deviation 0.2.
    """

    model_config = ConfigDict(extra="forbid")

    mask_proportion: float = Field(0.15, ge=0, le=1)
    mask_consecutive_min: int = Field(7, ge=1)
    mask_consecutive_max: int = Field(7, ge=1)
    mask_allow_overlap: bool = True
    mask_bucket_ratio: float = Field(1.5, gt=0)
    mask_frequency: float = Field(0.2, ge=0, le=1)
    noise_proportion: float = Field(0.0, ge=0, le=1)


class Corruption(Settings):
    """What is done to the input audio, the target staying clean; nothing by default, as published.

    Attributes:
        noise: probability of additive noise, white to pink, at a ratio from `snr_db`.
        lowpass: probability of a low-pass at `lowpass_hz`, as a telephone line.
    """

    noise: float = Field(0.0, ge=0, le=1)
    snr_db: tuple[float, float] = (5.0, 50.0)
    lowpass: float = Field(0.0, ge=0, le=1)
    lowpass_hz: tuple[float, float] = (3400.0, 4000.0)


class TeraModel(Block):
    """The published blocks `transformer`, `task` and `audio`, and what is ours.

    Attributes:
        initialisation: `published` (normal, `initializer_range`), or `local`: heads start off looking at fixed offsets.
        stored: type of the finished upstream's tensors on disk; loading gives float32 again.
    """

    transformer: TransformerConfig = TransformerConfig()
    task: Alteration = Alteration()
    audio: LogMelConfig = LogMelConfig()
    corruption: Corruption = Corruption()
    initialisation: Literal["published", "local"] = "published"
    stored: Literal["float32", "float16"] = "float32"


class TeraCorpus(CorpusBlock):
    """LibriSpeech splits without their transcripts; by default every training split that the folder holds."""

    splits: list[str] | None = None
    batching: Batching = Batching(batch_size=32)


class TeraObjective(Objective):
    """Masked reconstruction of acoustic features."""

    name = "tera"
    demo_corpus = "pretraining"
    Corpus, Model = TeraCorpus, TeraModel
    corpus: TeraCorpus
    model: TeraModel
    card = Card(
        title="TERA: masked reconstruction of acoustic features",
        data="LibriSpeech audio, transcripts unused",
        splits={"train": "train-clean-100, train-clean-360, train-other-500"},
        head="Linear, GELU, layer norm, Linear to the target features",
        selection="the last step",
        source="Liu, Li and Lee, 2021, arXiv 2007.06028",
    )

    def cuts(self) -> CutSet:
        root = locate.locate(librispeech.SOURCE, self.corpus.folder)
        here = [split for split in librispeech.TRAINING_SPLITS if (root / split).is_dir()]
        return librispeech.read_all(root, self.corpus.splits or here or librispeech.TRAINING_SPLITS[:1])

    def build(self) -> nn.Module:
        return Reconstruction(self.model)

    def save(self, module: nn.Module, folder: Path, notes: dict[str, Any]) -> None:
        assert isinstance(module, Reconstruction)
        module.tera.save_native(folder, head_tensors(module.head), dtype=getattr(torch, self.model.stored), notes=notes)


class Reconstruction(nn.Module):
    """Encoder and reconstruction head. Waveforms in, L1 loss on the altered positions out."""

    def __init__(self, config: TeraModel) -> None:
        super().__init__()
        self.config = config
        upstream_config = TeraConfig(transformer=config.transformer, task=TaskConfig(**config.task.model_dump()), audio=config.audio)
        self.tera = Tera(upstream_config)
        self.head = SpecHead(upstream_config)
        self.target = front_end(upstream_config, stream="target")
        if config.initialisation == "local":
            look_nearby(self.tera, self.head)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The trained modules under the names that checkpoints give them."""
        return {"Transformer": self.tera.encoder, "SpecHead": self.head}

    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss on a batch of waveforms (B, T), and the same on masked frames and on masked bands apart."""
        wavs, lengths = random_crop(wavs, lengths, self.config.task.sequence_length * self.tera.stride)
        with torch.no_grad():
            target, frames = self.target(wavs, lengths)
            features, _ = self.tera.front_end(corrupt(wavs, self.config.corruption), lengths)
            altered, in_time, in_band = alter(features, frames, self.config.task)
        errors = (self.head(self.tera.encoder(altered, frames)[-1]).float() - target).abs()
        masked = in_time | in_band
        if not (self.config.task.mask_proportion or self.config.task.mask_frequency):  # magnitude alone: every frame is to be restored
            masked = valid_frames(frames, errors.shape[1])[..., None].expand_as(errors)
        if not masked.any():  # every utterance is too short to be masked: nothing to learn from this batch
            return 0.0 * errors.sum(), {}
        measures = {"time": _mean(errors, in_time & ~in_band), "band": _mean(errors, in_band & ~in_time)}
        return (errors * masked).sum() / masked.sum(), {name: value for name, value in measures.items() if value is not None}


def _mean(errors: Tensor, mask: Tensor) -> float | None:
    return float(errors.detach()[mask].mean()) if mask.any() else None


def random_crop(wavs: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Utterances of more than `longest` samples cut to so many, from a random sample on; 0 keeps them whole."""
    if longest <= 0 or int(lengths.max()) <= longest:
        return wavs, lengths
    room = (lengths - longest).clamp(min=0)
    start = (torch.rand(len(lengths), device=wavs.device) * (room + 1)).long()
    index = (start[:, None] + torch.arange(longest, device=wavs.device)).clamp(max=wavs.shape[1] - 1)
    return wavs.gather(1, index), lengths.clamp(max=longest)


def corrupt(wavs: Tensor, config: Corruption) -> Tensor:
    """Waveforms (B, T), some low-passed, some with coloured noise; drawn anew for each utterance."""
    if not (config.noise or config.lowpass):
        return wavs
    batch, samples = wavs.shape
    size = -(-samples // 3200) * 3200  # a length whose Fourier transform is fast
    hertz = torch.fft.rfftfreq(size, 1 / 16_000, device=wavs.device)
    spectrum = torch.fft.rfft(wavs, n=size)
    cutoff = _uniform(batch, config.lowpass_hz, wavs)
    cut = torch.rand(batch, 1, device=wavs.device) < config.lowpass
    spectrum = torch.where(cut & (hertz > cutoff), 0.0, spectrum)
    tilt = (hertz.clamp(min=50.0) / 1000.0) ** -_uniform(batch, (0.0, 0.7), wavs)
    noise = torch.fft.irfft(torch.fft.rfft(torch.randn(batch, size, device=wavs.device)) * tilt)[:, :samples]
    clean = torch.fft.irfft(spectrum)[:, :samples]
    level = 10 ** (-_uniform(batch, config.snr_db, wavs) / 20)
    gain = level * _rms(clean) / _rms(noise) * (torch.rand(batch, 1, device=wavs.device) < config.noise)
    return clean + gain * noise


def _uniform(batch: int, bounds: tuple[float, float], like: Tensor) -> Tensor:
    return torch.empty(batch, 1, device=like.device).uniform_(*bounds)


def _rms(wavs: Tensor) -> Tensor:
    return wavs.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)


def alter(features: Tensor, lengths: Tensor, config: Alteration) -> tuple[Tensor, Tensor, Tensor]:
    """The alterations of time, frequency and magnitude.

    Args:
        features: (B, F, D), zero past each length.
        lengths: (B,) valid frames.

    Returns: altered features (B, F, D), and which positions (B, F, D) were altered in time and in frequency.
    """
    altered = features.clone()
    in_time, in_band = (torch.zeros_like(features, dtype=torch.bool) for _ in range(2))
    for row, length in enumerate(lengths.tolist()):
        spans, width = _spans(length, config)
        frames = (spans[:, None] + torch.arange(width)).flatten()
        policy = float(torch.rand(()))  # one draw for the whole utterance, not one a span
        if policy < 0.8:
            altered[row, frames] = 0.0
        elif policy < 0.9:
            sources = torch.randperm(max(length - width - 1, 0) + 1)[: len(spans)]
            altered[row, frames] = features[row, (sources[:, None] + torch.arange(width)).flatten()]
        in_time[row, frames] = True
        band, start = _band(features.shape[2], config.mask_frequency)
        altered[row, :, start : start + band] = 0.0
        in_band[row, :length, start : start + band] = True
    if float(torch.rand(())) < config.noise_proportion:
        altered += 0.2 * torch.randn_like(altered)
    return altered, in_time, in_band


def _spans(length: int, config: Alteration) -> tuple[Tensor, int]:
    """Starts of the masked spans of an utterance, and their width in frames."""
    width = int(torch.randint(config.mask_consecutive_min, config.mask_consecutive_max + 1, ()))
    count, last = round(config.mask_proportion * length / width), max(length - width - 1, 0)
    if length <= width:  # no room for a span that leaves the last frame
        count = 0
    if config.mask_allow_overlap:
        return torch.randperm(last + 1)[:count], width
    first = int(torch.randint(0, min(width, last) + 1, ()))
    grid = torch.arange(first, last + 1, max(1, round(width * config.mask_bucket_ratio)))
    return grid[torch.randperm(len(grid))[:count]], width


def _band(dim: int, share: float) -> tuple[int, int]:
    """Width and start of the masked band of an utterance."""
    width = int(torch.randint(0, int(dim * share) + 1, ()))
    return width, int(torch.randint(0, max(1, dim - width), ()))


# Frames that each head of a layer looks ahead (or behind) at the start; repeated for more heads, the last row for more layers.
OFFSETS = ((-8, -3, 3, 8), (-12, -5, 5, 12), (-6, -2, 2, 6))


@torch.no_grad()
def look_nearby(tera: Tera, head: SpecHead, deviation: float = 0.05) -> None:
    """Start every attention head off at a fixed offset in time, by way of the sinusoids that the input carries.

    A small model that starts as published (all weights near zero) spends its first thousand updates without learning anything
    about time. Here key rows copy sinusoid pairs and query rows copy them turned by the offset, so that their product peaks at
    it; values and outputs start at dim^-0.5. The architecture and the checkpoint format stay as they are.
    """
    dim = tera.dim
    for module in (*tera.encoder.modules(), *head.modules()):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=deviation)
    nn.init.normal_(tera.encoder.input_projection.weight, std=0.11)
    rates = torch.pow(10_000.0, -2 * torch.arange(dim // 2) / dim)
    for depth, layer in enumerate(tera.encoder.transformer.layers):
        assert isinstance(layer, TransformerLayer)
        attention = layer.attention
        size = dim // attention.heads
        query, key, value = attention.qkv.weight.view(3, dim, dim)
        nn.init.normal_(value, std=dim**-0.5)
        nn.init.normal_(attention.output.weight, std=dim**-0.5)
        query *= 0.5
        key *= 0.5
        pairs = torch.linspace(0, dim // 2 * 3 / 4, size // 2).long()
        offsets = OFFSETS[min(depth, len(OFFSETS) - 1)]
        for number in range(attention.heads):
            angle = offsets[number % len(offsets)] * rates[pairs]
            even = torch.arange(number * size, number * size + 2 * len(pairs), 2)
            sine, cosine = 2 * pairs, 2 * pairs + 1
            key[even, sine] = key[even + 1, cosine] = 1.0
            query[even, sine] = query[even + 1, cosine] = angle.cos()
            query[even, cosine], query[even + 1, sine] = angle.sin(), -angle.sin()


OBJECTIVE = TeraObjective
