"""TERA's acoustic front end: log-mel (or linear, or MFCC) features with per-utterance normalisation.

Source: s3prl upstream/baseline/preprocessor.py and upstream/mockingjay/builder.py.
Shape letters: B batch, T samples, F frames, D features.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torchaudio.functional as AF
from pydantic import Field, field_validator
from torch import Tensor, nn

from upstream.base import Padding
from upstream.features.frames import EPS, append_deltas, normalize, zero_padding
from upstream.layers.lengths import valid_frames
from upstream.settings import Settings

SAMPLE_RATE = 16_000
MFCC_MELS = 128  # torchaudio's MFCC default, which the published front end leaves as it is
MFCC_EPS = 1e-6  # the same


class FeatureConfig(Settings):
    """One feature stream: what it is and how it is normalised."""

    feat_type: Literal["mel", "linear", "mfcc"] = "mel"
    channel: int = 0  # kept for the published files, which ignore it too
    log: bool = False
    delta: int = Field(default=0, ge=0)
    cmvn: bool = False


class LogMelConfig(Settings):
    """The `audio` block of the published configurations.

    Attributes:
        target_level: level that every utterance is brought to, in dB; None leaves it.
        win_ms, hop_ms: window and hop in milliseconds.
        n_freq: bins of the spectrum; the FFT has 2 * (n_freq - 1) points.
        input, target: features of the encoder's input and of the reconstruction; without `target` the same.
    """

    target_level: float | None = -25.0
    win_ms: float = Field(default=25, gt=0)
    hop_ms: float = Field(default=10, gt=0)
    sample_rate: Literal[16_000] = 16_000
    n_freq: int = Field(default=201, gt=1)
    n_mels: int = Field(default=80, gt=0)
    n_mfcc: int = Field(default=13, gt=0)
    input: FeatureConfig = FeatureConfig(feat_type="mel", log=True, cmvn=True)
    target: FeatureConfig | None = None

    @field_validator("target_level", mode="before")
    @classmethod
    def _none_as_text(cls, value: Any) -> Any:
        return None if value == "None" else value  # how the published files switch it off

    @property
    def stride(self) -> int:
        """Samples a frame."""
        return round(self.hop_ms * SAMPLE_RATE / 1000)

    @property
    def input_dim(self) -> int:
        """Features a frame, D, of the encoder's input."""
        return self.width(self.input)

    def width(self, feature: FeatureConfig) -> int:
        """Features a frame, D, of one stream."""
        base = {"mel": self.n_mels, "linear": self.n_freq, "mfcc": self.n_mfcc}[feature.feat_type]
        return base * (feature.delta + 1)


class LogMel(nn.Module):
    """Waveforms to normalised features, all utterances of a batch at once.

    With `padding="alone"` an utterance's features do not depend on the batch: it is reflected at its own end, framed and
    normalised by its own length. `padding="reference"` is the published batch behaviour: shorter utterances run into zeros,
    and their frames are counted in proportion to the padded batch.
    """

    window: Tensor
    filters: Tensor
    cosines: Tensor

    def __init__(self, config: LogMelConfig, padding: Padding = "alone", stream: Literal["input", "target"] = "input") -> None:
        super().__init__()
        self.config = config
        self.padding = padding
        self.feature = (config.target or config.input) if stream == "target" else config.input
        self.dim = config.width(self.feature)
        self.fft_size = 2 * (config.n_freq - 1)
        self.window_size = round(config.win_ms * SAMPLE_RATE / 1000)
        # Reflection needs half a window and one sample; two frames (for a deviation) need one hop, or where lengths are rounded 1.5.
        two_frames = config.stride if padding == "alone" else -(-3 * config.stride // 2)
        self.minimum_samples = max(self.fft_size // 2 + 1, two_frames)
        self._build_tables()

    def _build_tables(self) -> None:
        config = self.config
        mels = MFCC_MELS if self.feature.feat_type == "mfcc" else config.n_mels
        filters = AF.melscale_fbanks(config.n_freq, 0.0, SAMPLE_RATE / 2, mels, SAMPLE_RATE)  # HTK scale, no area norm
        self.register_buffer("window", torch.hann_window(self.window_size), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("cosines", AF.create_dct(config.n_mfcc, mels, norm="ortho"), persistent=False)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Frames (B,) of utterances of `lengths` (B,) samples in one batch."""
        if self.padding == "alone":
            return lengths // self.config.stride + 1
        samples = int(lengths.max())
        rate = samples / (samples // self.config.stride + 1)
        frames = [round(length / rate) for length in lengths.tolist()]
        return torch.tensor(frames, dtype=torch.int64, device=lengths.device)

    @torch.no_grad()
    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of wavs (B, T) with `lengths` (B,) valid samples.

        Returns: features (B, F, D) float32, zero past each utterance's end, and frame lengths (B,) int64.
        """
        lengths = lengths.to(wavs.device)
        with torch.autocast(wavs.device.type, enabled=False):
            wavs = self._level(wavs.float(), lengths)
            ends = lengths if self.padding == "alone" else torch.full_like(lengths, wavs.shape[1])
            features = self._select(self._power(wavs, ends))
            frames = self.frame_lengths(lengths)
            features = append_deltas(features, ends // self.config.stride + 1, self.feature.delta)
            features = normalize(features, frames) if self.feature.cmvn else zero_padding(features, frames)
        return features, frames

    def _level(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Cut to the longest utterance, silence what lies past each end, and bring every utterance to the target level."""
        wavs = wavs[:, : int(lengths.max())]
        wavs = wavs.masked_fill(~valid_frames(lengths, wavs.shape[1]), 0.0)
        if self.config.target_level is None:
            return wavs
        rms = (wavs.square().sum(1, dtype=torch.float64) / lengths).sqrt()
        gain = 10 ** (self.config.target_level / 20) / (rms + EPS)
        return wavs * gain.float()[:, None]

    def _power(self, wavs: Tensor, ends: Tensor) -> Tensor:
        """Power spectrum (B, F, bins), centred frames, each row reflected at its start and at its own end."""
        half = self.fft_size // 2
        index = (torch.arange(wavs.shape[1] + 2 * half, device=wavs.device) - half).abs()[None, :]
        last = ends[:, None] - 1
        index = torch.where(index > last, 2 * last - index, index).clamp_min(0)
        padded = wavs.gather(1, index)
        spectrum = torch.stft(
            padded, self.fft_size, self.config.stride, self.window_size, self.window.float(), center=False, return_complex=True
        )
        return torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)

    def _select(self, power: Tensor) -> Tensor:
        """The configured feature (B, F, D) of a power spectrum."""
        kind = self.feature.feat_type
        features = power if kind == "linear" else power @ self.filters.float()
        if kind == "mfcc":
            features = (features + MFCC_EPS).log() @ self.cosines.float()
        return (features + EPS).log() if self.feature.log else features
