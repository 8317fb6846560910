"""The one batch that flows through Weir: padded waveforms, their lengths, ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from corpus.audio import SAMPLE_RATE, read_audio
from corpus.errors import DataError

if TYPE_CHECKING:
    from lhotse.cut import Cut


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


def collate(cuts: Iterable[Cut], waveforms: Sequence[np.ndarray], labels: Sequence[Any] | None = None) -> Batch:
    """Pad waveforms, each (samples,) float32 at 16 kHz, to the longest.

    Raises:
        DataError: there is no cut, or a waveform has no samples.
    """
    utt_ids = [cut.id for cut in cuts]
    if not utt_ids:
        raise DataError("a batch needs at least one utterance")
    empty = [utt_id for utt_id, waveform in zip(utt_ids, waveforms, strict=True) if len(waveform) == 0]
    if empty:
        raise DataError(f"no samples in {', '.join(empty)}; leave such utterances out")
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    wavs = torch.zeros(len(utt_ids), int(lengths.max()))
    for row, waveform in zip(wavs, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return Batch(wavs, lengths, utt_ids, None if labels is None else list(labels))


def load_batch(cuts: Iterable[Cut], label: Callable[[Cut], Any] | None = None) -> Batch:
    """Read the audio of some cuts, and their labels where `label` gives them.

    Raises:
        DataError: audio that cannot be used; the message names the file.
    """
    cuts = list(cuts)
    return collate(cuts, [read_cut(cut) for cut in cuts], None if label is None else [label(cut) for cut in cuts])


def read_cut(cut: Cut) -> np.ndarray:
    """Samples of one cut: (samples,) float32, 16 kHz mono.

    A part of a file is read by `read_audio`; everything else that a cut may be (a mixture, an archive's member, a changed
    speed) by Lhotse.
    """
    from lhotse.cut import MonoCut

    if cut.duration <= 0:
        raise DataError(f"{cut.id}: a cut of {cut.duration} s has no samples")
    recording = cut.recording if isinstance(cut, MonoCut) else None
    if recording is not None and len(recording.sources) == 1 and recording.sources[0].type == "file" and not recording.transforms:
        whole = cut.start == 0 and cut.duration == recording.duration
        return read_audio(recording.sources[0].source, cut.start, None if whole else cut.duration)
    return _through_lhotse(cut)


def _through_lhotse(cut: Cut) -> np.ndarray:
    from lhotse.audio.utils import AudioLoadingError

    try:
        samples = cut.resample(SAMPLE_RATE).load_audio()
    except (AudioLoadingError, OSError) as error:
        raise DataError(f"{cut.id}: its audio cannot be read ({error})") from error
    if samples is None or not np.isfinite(samples).all():
        raise DataError(f"{cut.id}: {'no audio behind it' if samples is None else 'NaN or infinite samples'}; leave it out")
    return np.ascontiguousarray(samples.mean(axis=0, dtype=np.float32))
