"""Kaldi-style front end: filterbanks with deltas and per-utterance normalisation.

SUPERB's FBANK baseline, and the input of the `fbankBase` TERA models. Source: s3prl upstream/baseline/extracter.py, fbank.yaml.
Shape letters: B batch, T samples, F frames, D features.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchaudio.compliance import kaldi

from upstream.errors import UpstreamError
from upstream.features.frames import append_deltas, normalize, zero_padding
from upstream.settings import Settings, nearest

SAMPLE_RATE = 16_000
FUNCTIONS = {"fbank": kaldi.fbank, "mfcc": kaldi.mfcc, "spectrogram": kaldi.spectrogram}
PUBLISHED_FBANK = {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True}


class KaldiFeature(Settings):
    """Which Kaldi feature, and the options handed to it; all others keep torchaudio's defaults."""

    feat_type: Literal["fbank", "mfcc", "spectrogram"] = "fbank"
    fbank: dict[str, Any] = Field(default_factory=lambda: dict(PUBLISHED_FBANK))
    mfcc: dict[str, Any] = Field(default_factory=dict)
    spectrogram: dict[str, Any] = Field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the chosen function."""
        chosen: dict[str, Any] = getattr(self, self.feat_type)
        return chosen

    @model_validator(mode="after")
    def _options_exist(self) -> KaldiFeature:
        known = set(inspect.signature(FUNCTIONS[self.feat_type]).parameters) - {"waveform", "sample_frequency"}
        for key in self.options:
            if key not in known:
                guess = nearest(key, known)
                raise ValueError(f"unknown {self.feat_type} option '{key}'" + (f": did you mean '{guess}'?" if guess else ""))
        return self


class DeltaConfig(Settings):
    """Orders of regression coefficients and the frames that each sees."""

    order: int = Field(default=2, ge=0)
    win_length: int = 5


class CmvnConfig(Settings):
    """Normalisation over the utterance."""

    use_cmvn: bool = True


class KaldiConfig(Settings):
    """The `audio` block of configurations with `kaldi` in it; the defaults are SUPERB's FBANK."""

    kaldi: KaldiFeature = KaldiFeature()
    delta: DeltaConfig = DeltaConfig()
    cmvn: CmvnConfig = CmvnConfig()

    def samples(self, option: str, default_ms: float) -> int:
        """A duration among the options, in samples."""
        return int(self.kaldi.options.get(option, default_ms) * SAMPLE_RATE * 0.001)

    @property
    def stride(self) -> int:
        """Samples a frame."""
        return self.samples("frame_shift", 10.0)

    @property
    def input_dim(self) -> int:
        """Features a frame, D, deltas included."""
        return extract(self, torch.zeros(SAMPLE_RATE)).shape[1] * (self.delta.order + 1)


def extract(config: KaldiConfig, wav: Tensor) -> Tensor:
    """Features (F, D) of one waveform (T,), without deltas."""
    features: Tensor = FUNCTIONS[config.kaldi.feat_type](wav[None], sample_frequency=SAMPLE_RATE, **config.kaldi.options)
    return features


class KaldiFeatures(nn.Module):
    """Waveforms to Kaldi features, one utterance at a time, so that nothing depends on the batch."""

    def __init__(self, config: KaldiConfig) -> None:
        super().__init__()
        self.config = config
        frames = 2 if config.cmvn.use_cmvn else 1  # the unbiased deviation needs two
        self.minimum_samples = config.samples("frame_length", 25.0) + (frames - 1) * config.stride
        if not config.kaldi.options.get("snip_edges", True):
            self.minimum_samples = max(self.minimum_samples, frames * config.stride)
        self.dim = config.input_dim

    @torch.no_grad()
    def forward(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of wavs (B, T) with `lengths` (B,) valid samples.

        Returns: features (B, F, D) float32, zero past each utterance's end, and frame lengths (B,) int64.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            each = [extract(self.config, wav[:length].float()) for wav, length in zip(wavs, lengths.tolist(), strict=True)]
            if not all(map(len, each)):
                raise UpstreamError(f"an utterance of {int(lengths.min())} samples gives no frame")
            frames = torch.tensor([len(features) for features in each], device=wavs.device)
            features = nn.utils.rnn.pad_sequence(each, batch_first=True)
            features = append_deltas(features, frames, self.config.delta.order, self.config.delta.win_length)
            features = normalize(features, frames) if self.config.cmvn.use_cmvn else zero_padding(features, frames)
        return features, frames
