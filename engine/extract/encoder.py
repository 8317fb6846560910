"""A frozen upstream, and the part of what it gives that an extraction keeps: hidden states, their means, or codes."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from corpus.audio import SAMPLE_RATE
from corpus.batch import Batch
from engine.errors import ConfigError
from engine.extract.plan import Extraction
from engine.sources import Frozen
from upstream.base import Upstream


class Encoder:
    """A frozen upstream, and what is kept of what it gives.

    Attributes:
        layers: the hidden states that are kept, counted from 0; None for codes.
    """

    def __init__(self, extraction: Extraction, model: Upstream, accelerator: Accelerator) -> None:
        self.what, self.dtype = extraction.what, getattr(torch, extraction.dtype)
        self.minimum_samples, self.model = model.minimum_samples, model
        self.layers: tuple[int, ...] | None = None
        if self.what == "codes":
            if not callable(getattr(model, "codes", None)):
                raise ConfigError(f"--what codes: {extraction.upstream} gives no discrete codes; vq_wav2vec does")
        else:
            self.layers = _numbers(extraction.layers, model.num_states, extraction.upstream)
        self.frozen = Frozen(model, accelerator.device, accelerator.autocast, extraction.precision)

    def bytes(self, seconds: float) -> int:
        """About what an utterance takes on disk."""
        frames = max(1, int(seconds * SAMPLE_RATE / self.model.stride))
        if self.layers is None:
            return 2 * 8 * frames  # two groups
        values = len(self.layers) * self.model.dim * (1 if self.what == "mean" else frames)
        return values * self.dtype.itemsize

    def encode(self, batch: Batch) -> list[tuple[np.ndarray, int] | None]:
        """Each utterance's array and number of frames; None where its values do not fit the type.

        Arrays are hidden states (L, F, D), means (L, D) or codes (1, F, G).
        """
        try:
            found = self._codes(batch) if self.layers is None else [self._chosen(states) for states in self.frozen.encode(batch)]
        except torch.OutOfMemoryError:
            raise ConfigError(
                f"the device has no memory for {batch.wavs.numel() / SAMPLE_RATE:.0f} s of audio at once, {batch.utt_ids[0]} and "
                f"{len(batch.utt_ids) - 1} shorter: give a smaller --batch-seconds; a manifest with start and duration cuts long files"
            ) from None
        return [(_array(values), frames) if torch.isfinite(values).all() else None for values, frames in found]

    def _chosen(self, states: Tensor) -> tuple[Tensor, int]:
        """Of an utterance's states (L, F, D) those that are kept, or their mean (L, D), and the frames that there were."""
        chosen = states[list(self.layers or ())]
        kept = chosen.mean(1, dtype=torch.float32) if self.what == "mean" else chosen
        return kept.to(self.dtype), states.shape[1]

    def _codes(self, batch: Batch) -> list[tuple[Tensor, int]]:
        """Each utterance's codes (1, F, G), and its frames."""
        batch = batch.to(self.frozen.device)
        with torch.no_grad(), self.frozen.autocast():
            codes, frames = self.model.codes(batch.wavs, batch.lengths)  # type: ignore[operator]
        return [(row[None, :count], count) for row, count in zip(codes, frames.tolist(), strict=True)]


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.cpu().numpy())


def _numbers(layers: tuple[int, ...] | None, count: int, name: str) -> tuple[int, ...]:
    """Hidden states counted from 0. Raises ConfigError for one that is not there, or twice."""
    if layers is None:
        return tuple(range(count))
    if outside := [layer for layer in layers if not -count <= layer < count]:
        raise ConfigError(f"--layers {outside[0]}: {name} has {count} hidden states, 0 to {count - 1} (or -{count} to -1, from the end)")
    chosen = tuple(layer % count for layer in layers)
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"--layers {','.join(map(str, layers))} names a hidden state twice ({name} has {count})")
    return chosen
