"""What the speech models of Transformers take as input, computed from padded waveforms on any device.

Sources: the library's feature extractors `Wav2Vec2FeatureExtractor`, `SeamlessM4TFeatureExtractor` (w2v-BERT 2) and
`WhisperFeatureExtractor`, against which each class here is tested.
Shape letters: B batch, T samples, F frames, M mel bands.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from upstream.base import Padding, normalization_note
from upstream.errors import UpstreamError
from upstream.folder import SAMPLE_RATE, Preprocessor
from upstream.layers.lengths import valid_frames

EPS = 1e-7  # of all normalisations in the library
# Model types without anything that looks past an utterance's end, where all norms are layer norms and padding is masked.
MASKED_TYPES = {"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"}
KALDI_WINDOW, KALDI_HOP, KALDI_FFT = 400, 160, 512  # samples
KALDI_FLOOR = torch.finfo(torch.float32).eps  # of the power in a band
WHISPER_FFT, WHISPER_HOP = 400, 160


class Inputs(nn.Module, ABC):
    """From waveforms to the keyword arguments of a model.

    Attributes:
        stride: samples a frame of the model's output.
        minimum_samples: the shortest utterance that gives a frame.
        window: samples that the model sees at a time, always that many; None for any length.
        batches: whether a padded batch gives each utterance the states that it has alone.
        note: how the input is normalised, in words.
        settings: what decides the input besides the model's own configuration, for the fingerprint.
    """

    stride: int
    minimum_samples: int
    window: int | None = None
    batches: bool
    note: str
    settings: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def frames(self, lengths: Tensor) -> Tensor:
        """Frames (B,) of the model's output for samples (B,)."""

    @abstractmethod
    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Arguments of the model for wavs (B, T), zero past their `lengths` (B,) on the same device."""


class Waves(Inputs):
    """Waveforms as they are, or each with zero mean and unit variance, for models that begin with convolutions."""

    def __init__(self, config: Any, preprocessor: Preprocessor, padding: Padding) -> None:
        super().__init__()
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.stride = math.prod(config.conv_stride)
        self.minimum_samples = self._samples(getattr(config, "squeeze_factor", 1))
        layer_norm = getattr(config, "feat_extract_norm", "layer") == "layer"
        self.batches = config.model_type in MASKED_TYPES and layer_norm and not getattr(config, "conv_pos_batch_norm", False)
        # Where the settings are silent, the rule of the library's documentation: no mask for models with a group norm.
        published = preprocessor.values.get("return_attention_mask", layer_norm if preprocessor.file is None else False)
        self.masks = self.batches if padding == "alone" else bool(published)
        self.normalizes = preprocessor.normalizes
        self.settings = {"normalizes": self.normalizes, "masks": self.masks}
        self.note = normalization_note(EPS if self.normalizes else None, preprocessor.source)

    def _samples(self, frames: int) -> int:
        """The least samples that give this many frames."""
        for kernel, stride in reversed(self.convolutions):
            frames = (frames - 1) * stride + kernel
        return frames

    def frames(self, lengths: Tensor) -> Tensor:
        """Each convolution has no padding."""
        for kernel, stride in self.convolutions:
            lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        return lengths

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Without a mask the published normalisation takes the padding for part of the utterance."""
        valid = valid_frames(lengths if self.masks else torch.full_like(lengths, wavs.shape[1]), wavs.shape[1])
        if self.normalizes:
            wavs = _standardized(wavs, valid)
        return {"input_values": wavs, "attention_mask": valid.long()} if self.masks else {"input_values": wavs}


def _standardized(values: Tensor, valid: Tensor, unbiased: bool = False) -> Tensor:
    """Zero mean and unit variance along dimension 1 over what is valid, zero elsewhere.

    Sums run in float64, so that neither padding nor the size of the batch shows in them.
    """
    exact, count = values.double().masked_fill(~valid, 0.0), valid.sum(1, keepdim=True)
    centred = (exact - exact.sum(1, keepdim=True) / count).masked_fill(~valid, 0.0)
    variance = centred.square().sum(1, keepdim=True) / (count - 1 if unbiased else count)
    return (centred / (variance + EPS).sqrt()).float()


class Filterbanks(Inputs):
    """Kaldi's log mel bands, each normalised over its utterance, several frames stacked into one: w2v-BERT 2."""

    filters: Tensor
    povey: Tensor
    batches = True
    note = "input: log-mel filterbanks, normalised per utterance"

    def __init__(self, config: Any, preprocessor: Preprocessor) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        mels = preprocessor.values.get("num_mel_bins", 80)
        self.stacked = preprocessor.values.get("stride", 2)
        if mels * self.stacked != config.feature_projection_input_dim:
            raise UpstreamError(
                f"{preprocessor.file or 'default input settings'}: {self.stacked} frames of {mels} mel bands are not the "
                f"{config.feature_projection_input_dim} values that feature_projection_input_dim asks for"
            )
        self.settings = {"num_mel_bins": mels, "stride": self.stacked}
        self.stride = self.stacked * KALDI_HOP
        self.minimum_samples = KALDI_WINDOW + (max(self.stacked, 2) - 1) * KALDI_HOP  # the unbiased variance needs two frames
        bank = mel_filter_bank(
            1 + KALDI_FFT // 2, mels, 20.0, SAMPLE_RATE / 2, SAMPLE_RATE, mel_scale="kaldi", triangularize_in_mel_space=True
        )
        self.register_buffer("filters", torch.from_numpy(bank), persistent=False)
        povey = torch.hann_window(KALDI_WINDOW, periodic=False, dtype=torch.float64) ** 0.85
        self.register_buffer("povey", povey, persistent=False)

    def frames(self, lengths: Tensor) -> Tensor:
        """A remainder that fills no stack is masked in the published batch, and left out here."""
        return self._bands(lengths).div(self.stacked, rounding_mode="floor")

    def _bands(self, lengths: Tensor) -> Tensor:
        """Frames (B,) before stacking."""
        return (lengths - KALDI_WINDOW).div(KALDI_HOP, rounding_mode="floor") + 1

    @torch.no_grad()
    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Normalised over all frames, then stacked."""
        with torch.autocast(wavs.device.type, enabled=False):
            bands = self._log_mel(wavs)
            valid = valid_frames(self._bands(lengths), bands.shape[1])
            bands = _standardized(bands, valid[:, :, None], unbiased=True)
        size = bands.shape[1] // self.stacked
        features = bands[:, : size * self.stacked].reshape(len(bands), size, -1)
        return {"input_features": features, "attention_mask": valid_frames(self.frames(lengths), size).long()}

    def _log_mel(self, wavs: Tensor) -> Tensor:
        """Log mel bands (B, F, M), in float64 and then rounded, as the library does; Kaldi's waveforms span the 16-bit integers."""
        pieces = wavs.double().unfold(1, KALDI_WINDOW, KALDI_HOP) * 2**15
        pieces = pieces - pieces.mean(2, keepdim=True)
        pieces = pieces - 0.97 * torch.cat([pieces[:, :, :1], pieces[:, :, :-1]], 2)
        power = torch.fft.rfft(pieces * self.povey, KALDI_FFT).abs().square()
        return (power @ self.filters).clamp(min=KALDI_FLOOR).log().float()


class LogMelWindows(Inputs):
    """Whisper's log mel bands of windows of a fixed length, padded with silence as the model was trained."""

    filters: Tensor
    batches = True

    def __init__(self, config: Any, preprocessor: Preprocessor) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        for name, value in {"n_fft": WHISPER_FFT, "hop_length": WHISPER_HOP, "dither": 0.0, "feature_size": config.num_mel_bins}.items():
            if preprocessor.values.get(name, value) != value:
                raise UpstreamError(f"{preprocessor.file}: {name} is {preprocessor.values[name]}; only {value} is supported")
        self.stride = 2 * WHISPER_HOP  # the second convolution halves the rate
        self.window = config.max_source_positions * self.stride
        self.minimum_samples = WHISPER_FFT
        self.note = (
            f"input: log-mel bands of windows of {self.window / SAMPLE_RATE:g} s, padded with silence; "
            "a longer utterance is encoded window by window, each by itself"
        )
        bank = mel_filter_bank(1 + WHISPER_FFT // 2, config.num_mel_bins, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.from_numpy(bank).float().T.contiguous(), persistent=False)

    def frames(self, lengths: Tensor) -> Tensor:
        """Every frame that an utterance reaches into."""
        return (lengths + self.stride - 1).div(self.stride, rounding_mode="floor")

    @torch.no_grad()
    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Features (B, M, F) of whole windows: log10 of the power, no deeper than 8 below the window's loudest, scaled to about 1."""
        with torch.autocast(wavs.device.type, enabled=False):
            hann = torch.hann_window(WHISPER_FFT, device=wavs.device)
            spectrum = torch.stft(wavs.float(), WHISPER_FFT, WHISPER_HOP, window=hann, return_complex=True)
            power = spectrum[:, :, :-1].abs().square()
            bands = (self.filters @ power).clamp(min=1e-10).log10()
            bands = torch.maximum(bands, bands.amax((1, 2), keepdim=True) - 8)
        return {"input_features": bands / 4 + 1}
