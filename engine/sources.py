"""Where a run's representations come from: computed live from audio, or read from the store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from lhotse.cut import Cut
from torch import Tensor

from corpus.batch import Batch, load_batch
from corpus.errors import DataError
from engine.prefetch import prefetch
from engine.store import writing
from engine.store.layout import DType
from engine.store.reading import Store
from engine.store.reduction import Reduction
from upstream.base import Precision, Representation, Upstream, padded

log = logging.getLogger("weir")

FRAMES = Reduction()
REPORTED_SECONDS = 10
"""Of audio on which the error of bf16 is measured."""


@dataclass(frozen=True)
class Origin:
    """Where a split's representations came from: `store` in results.json. Nothing in it changes from one run of a command to the next.

    Attributes:
        reduction: `live`, or what the store keeps.
        exact: whether computing them live, in whatever batches, gives the same numbers up to float error.
        why: they were stored so or not at all, or are not exact.
        padding: `none` where each utterance is encoded as if by itself, else `reference`.
    """

    reduction: str
    exact: bool
    why: str
    padding: str

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


UNSTORED = Origin("live", True, "nothing is stored here", "none")


@dataclass(frozen=True)
class Loaded:
    """One micro-batch, read: stored representations, audio to encode, or some of each.

    Attributes:
        labels: None for each utterance of a split without labels.
        samples: (B,) valid samples.
        representation: of the first utterances.
        audio: of the others.
        reduction: what is kept of every representation: stored ones are so already.
    """

    utt_ids: list[str]
    labels: list[Any]
    samples: Tensor
    audio: Batch | None = None
    representation: Representation | None = None
    reduction: Reduction = FRAMES


class Live:
    """Reads audio; the upstream computes.

    Args:
        minimum_samples: the shortest utterance that the upstream encodes.
        label: what the task's loss needs of a cut; None for a split without labels.
        pinned: read into memory that a GPU copies from on its own.
    """

    reads_ahead = True
    """Whether reading takes long enough for a thread of its own to pay."""

    def __init__(
        self, minimum_samples: int, label: Callable[[Cut], Any] | None = None, origin: Origin = UNSTORED, pinned: bool = False
    ) -> None:
        self.minimum_samples, self.label, self.origin, self.pinned = minimum_samples, label, origin, pinned

    def labels(self, cuts: Sequence[Cut]) -> list[Any]:
        return [None if self.label is None else self.label(cut) for cut in cuts]

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        batch = load_batch(cuts)
        for utt_id, samples in zip(batch.utt_ids, batch.lengths.tolist(), strict=True):
            check_samples(utt_id, samples, self.minimum_samples)
        if self.pinned:
            batch = replace(batch, wavs=batch.wavs.pin_memory())
        return Loaded(batch.utt_ids, self.labels(cuts), batch.lengths, audio=batch)


def check_samples(name: str, samples: int, least: int) -> None:
    """Refuse an utterance that is too short to give a representation, naming it, what it has and what it needs."""
    if samples < least:
        raise DataError(f"{name}: {samples} samples at 16 kHz are too few for this upstream, which needs at least {least}; leave it out")


class Stored:
    """Reads a finished store, and the audio of what it does not hold: parts that are cut out anew each time.

    Args:
        whole: nothing is missing from the store.
    """

    def __init__(self, stored: Store, live: Live, reduction: Reduction = FRAMES, origin: Origin = UNSTORED, whole: bool = True) -> None:
        self.store, self.live, self.reduction, self.origin = stored, live, reduction, origin
        self.reads_ahead = not (stored.pooled and whole)

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        known: list[Cut] = []
        others: list[Cut] = []
        for cut in cuts:
            (known if cut.id in self.store else others).append(cut)
        representation, audio, found = None, None, []
        if known:
            representation, samples = self.store.read([cut.id for cut in known])
            found.append(samples)
        if others:
            audio = self.live.load(others).audio
            assert audio is not None
            found.append(audio.lengths)
        ordered = [*known, *others]
        labels = self.live.labels(ordered)
        return Loaded([cut.id for cut in ordered], labels, torch.cat(found), audio, representation, self.reduction)


Source = Live | Stored


class Frozen:
    """An upstream that only encodes: no gradients, evaluation mode, under the run's precision.

    Args:
        precision: fp32 and bf16 take the packed forward where the encoder has one; fp16 has none.
    """

    def __init__(
        self, upstream: Upstream, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]], precision: str = "fp32"
    ) -> None:
        self.upstream, self.device, self.autocast = upstream.to(device).eval().requires_grad_(False), device, autocast
        self.packed = upstream.frozen(cast(Precision, precision)) if precision in get_args(Precision) else None
        self._reports = precision == "bf16"

    @property
    def dtype(self) -> DType:
        """That keeps its states without loss."""
        return "bfloat16" if self.packed is not None and self.packed.dtype == torch.bfloat16 else "float32"

    @property
    def form(self) -> str:
        """How it encodes: other ways differ in the last bits."""
        return "padded" if self.packed is None else self.packed.form

    def represent(self, loaded: Loaded) -> Representation:
        """The representation of a micro-batch on the device, reduced as `loaded` says."""
        parts = []
        if loaded.representation is not None:
            states, lengths = loaded.representation.hidden_states, loaded.representation.lengths
            parts.append(Representation(states.to(self.device, non_blocking=True), lengths.to(self.device)))
        if loaded.audio is not None:
            audio, reduction = loaded.audio, loaded.reduction
            parts.append(self._plain(audio, reduction) if self.packed is None else padded(self.encode(audio, reduction)))
        return parts[0] if len(parts) == 1 else _joined(*parts)

    def encode(self, batch: Batch, reduction: Reduction = FRAMES) -> list[Tensor]:
        """What is kept of each utterance's states, on the device: (L, F, D), or (L, 1, D) where it is pooled."""
        if self.packed is None:
            found = self._plain(batch, reduction)
            return [states[:, :frames] for states, frames in zip(found.hidden_states.unbind(1), found.lengths.tolist(), strict=True)]
        samples = batch.lengths.tolist()
        wavs = [wav[:count] for wav, count in zip(batch.wavs.to(self.device, non_blocking=True), samples, strict=True)]
        self._report_error(wavs[0])
        states, frames = self.packed.packed(wavs)
        return reduction.split(states, frames, samples)

    def _plain(self, batch: Batch, reduction: Reduction) -> Representation:
        """By the plain forward, padded."""
        wavs, lengths = batch.wavs.to(self.device, non_blocking=True), batch.lengths.to(self.device)
        with torch.no_grad(), self.autocast():
            return reduction(self.upstream(wavs, lengths), lengths)

    def _report_error(self, wav: Tensor) -> None:
        """Say, once a run, what is lost against fp32, on the beginning of an utterance (T,)."""
        if self._reports and self.packed is not None:
            error = self.packed.error(wav[: REPORTED_SECONDS * self.upstream.sample_rate])
            log.info("bf16: hidden states differ from fp32 by at most %.1e (relative, worst layer)", error)
        self._reports = False


def _joined(first: Representation, second: Representation) -> Representation:
    """Two batches as one, padded to the longer."""
    frames = max(first.hidden_states.shape[2], second.hidden_states.shape[2])
    states = [F.pad(part.hidden_states, (0, 0, 0, frames - part.hidden_states.shape[2])).float() for part in (first, second)]
    return Representation(torch.cat(states, 1), torch.cat([first.lengths, second.lengths]))


def frames_of(upstream: Upstream, seconds: float) -> float:
    """About how many frames so much audio has."""
    return seconds * upstream.sample_rate / upstream.stride


def estimate_bytes(upstream: Upstream, cuts: Sequence[Cut], reduction: Reduction = FRAMES) -> int:
    """Size of what is kept of these utterances."""
    return sum(reduction.bytes(upstream.num_states, upstream.dim, frames_of(upstream, cut.duration)) for cut in cuts)


def build_store(
    folder: Path, frozen: Frozen, batches: Sequence[Sequence[Cut]], reduction: Reduction = FRAMES,
    *, about: dict[str, Any] | None = None, accelerator: Accelerator | None = None, quiet: bool = True,
) -> None:  # fmt: skip
    """Encode every batch once and store it, over several processes together.

    Args:
        about: what it is, for `--store-list`.
    """
    encoder, live = frozen.upstream, Live(frozen.upstream.minimum_samples, pinned=frozen.device.type == "cuda")
    shards = writing.divide(batches, seconds, lambda batch: estimate_bytes(encoder, batch, reduction))
    about = {"what": "", "reduction": str(reduction), "utterances": sum(map(len, batches)), **(about or {})}

    def encode(batches: Sequence[Sequence[Cut]]) -> Iterator[writing.Encoded]:
        for loaded in prefetch(live.load, batches, 2):
            assert loaded.audio is not None
            yield loaded.utt_ids, frozen.encode(loaded.audio, reduction), loaded.samples.tolist()

    content = writing.Content(encoder.num_states, encoder.dim, reduction, shards, seconds, about)
    writing.fill(folder, content, encode, accelerator, quiet)


def measure_speed(frozen: Frozen, batches: Sequence[Sequence[Cut]]) -> float:
    """Seconds of audio that are read and encoded a second, by the middle one of some batches; the last one warms up."""
    live, began = Live(frozen.upstream.minimum_samples), 0.0
    for batch in (batches[-1], batches[len(batches) // 2]):
        began = time.perf_counter()
        audio = live.load(batch).audio
        assert audio is not None
        float(frozen.encode(audio)[-1].sum())  # waits for the device
    return seconds(batches[len(batches) // 2]) / (time.perf_counter() - began)


def seconds(cuts: Iterable[Cut]) -> float:
    """Of audio."""
    return sum(cut.duration for cut in cuts)
