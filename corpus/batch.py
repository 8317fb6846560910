"""The one batch that flows through Weir: padded waveforms, their lengths, ids and labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Utterances padded to the longest.

    Attributes:
        wavs: (B, T) float32, 16 kHz mono, in [-1, 1]; zeros behind each utterance.
        lengths: (B,) int64, valid samples.
        utt_ids: B utterance ids.
        labels: B labels, whatever the task's ``label`` gives for a cut; None where nothing is labelled.
    """

    wavs: Tensor
    lengths: Tensor
    utt_ids: list[str]
    labels: list[Any] | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return replace(self, wavs=self.wavs.to(device), lengths=self.lengths.to(device))
