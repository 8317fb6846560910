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
from engine.sources import Frozen, Loaded
from upstream.base import Representation, Upstream


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
            self.layers = _chosen(extraction.layers, model.num_states, extraction.upstream)
        self.frozen = Frozen(model, accelerator.device, accelerator.autocast)

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
            values, frames = self._values(batch)
        except torch.OutOfMemoryError:
            raise ConfigError(
                f"the device has no memory for {batch.wavs.numel() / SAMPLE_RATE:.0f} s of audio at once, {batch.utt_ids[0]} and "
                f"{len(batch.utt_ids) - 1} shorter: give a smaller --batch-seconds; a manifest with start and duration cuts long files"
            ) from None
        kept = values.to(self.dtype)
        finite = torch.isfinite(kept).all(-1).all(-1).all(0).tolist()
        kept, counts = kept.cpu(), frames.tolist()
        if self.what == "mean":
            arrays = [kept[:, row, 0] for row in range(len(counts))]
        else:
            arrays = [kept[:, row, :count] for row, count in enumerate(counts)]
        return [
            (np.ascontiguousarray(array.numpy()), count) if fits else None
            for array, count, fits in zip(arrays, counts, finite, strict=True)
        ]

    def _values(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Values (L, B, F, D) or (1, B, F, G), a mean having one frame, and valid frames (B,)."""
        if self.layers is None:
            batch = batch.to(self.frozen.device)
            with torch.no_grad(), self.frozen.autocast():
                indices, frames = self.model.codes(batch.wavs, batch.lengths)  # type: ignore[operator]
            return indices[None], frames
        found = self.frozen.represent(Loaded(batch.utt_ids, [], batch.lengths, audio=batch))
        chosen = Representation(found.hidden_states[list(self.layers)], found.lengths)
        return (chosen.mean(found.lengths) if self.what == "mean" else chosen).hidden_states, found.lengths


def _chosen(layers: tuple[int, ...] | None, count: int, name: str) -> tuple[int, ...]:
    """Hidden states counted from 0. Raises ConfigError for one that is not there, or twice."""
    if layers is None:
        return tuple(range(count))
    if outside := [layer for layer in layers if not -count <= layer < count]:
        raise ConfigError(f"--layers {outside[0]}: {name} has {count} hidden states, 0 to {count - 1} (or -{count} to -1, from the end)")
    chosen = tuple(layer % count for layer in layers)
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"--layers {','.join(map(str, layers))} names a hidden state twice ({name} has {count})")
    return chosen
