"""FBANK: SUPERB's baseline, Kaldi filterbanks with two orders of deltas, normalised over the utterance.

Source: SUPERB (Yang et al., 2021); s3prl upstream/baseline/{expert.py,fbank.yaml}.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from upstream.base import Representation, Upstream
from upstream.features.kaldi import KaldiConfig, KaldiFeatures


class Fbank(Upstream):
    """80 log mels and their deltas, 240 features every 10 ms, as the only hidden state. Nothing is trained."""

    name = "fbank"
    family = "fbank"
    takes_checkpoint: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.config = KaldiConfig()
        self.front_end = KaldiFeatures(self.config)
        self.stride = self.config.stride
        self.dim = self.front_end.dim
        self.num_states = 1
        self.minimum_samples = self.front_end.minimum_samples

    def configuration(self) -> dict[str, Any]:
        """The options of the front end."""
        return self.config.model_dump(mode="json")

    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Compute the features of waveforms (B, T) with `lengths` (B,) valid samples; see `Upstream.forward`."""
        self.check_lengths(lengths)
        features, frames = self.front_end(wavs, lengths)
        return Representation(features[None], frames)
