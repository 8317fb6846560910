"""Where a run's representations come from: computed live from audio, or read from the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lhotse.cut import Cut
from torch import Tensor
from tqdm import tqdm

from corpus.batch import Batch, load_batch
from corpus.errors import DataError
from engine import store
from engine.config import Store
from engine.errors import ConfigError
from upstream.base import Representation, Upstream


@dataclass(frozen=True)
class Loaded:
    """One micro-batch, read: audio, or a stored representation.

    Attributes:
        samples: (B,) valid samples.
    """

    utt_ids: list[str]
    labels: list[Any]
    samples: Tensor
    audio: Batch | None = None
    representation: Representation | None = None


class Live:
    """Reads audio; the upstream computes.

    Args:
        label: what the task's loss needs of a cut.
        minimum_samples: the shortest utterance that the upstream encodes.
    """

    def __init__(self, label: Callable[[Cut], Any], minimum_samples: int) -> None:
        self.label, self.minimum_samples = label, minimum_samples

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        batch = load_batch(cuts)
        for utt_id, samples in zip(batch.utt_ids, batch.lengths.tolist(), strict=True):
            check_samples(utt_id, samples, self.minimum_samples)
        return Loaded(batch.utt_ids, [self.label(cut) for cut in cuts], batch.lengths, audio=batch)


def check_samples(name: str, samples: int, least: int) -> None:
    """Refuse an utterance that is too short to give a representation, naming it, what it has and what it needs."""
    if samples < least:
        raise DataError(f"{name}: {samples} samples at 16 kHz are too few for this upstream, which needs at least {least}; leave it out")


class Stored:
    """Reads a finished store."""

    def __init__(self, label: Callable[[Cut], Any], stored: store.Store) -> None:
        self.label, self.store = label, stored

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        utt_ids = [cut.id for cut in cuts]
        representation, samples = self.store.read(utt_ids)
        return Loaded(utt_ids, [self.label(cut) for cut in cuts], samples, representation=representation)


Source = Live | Stored


class Frozen:
    """An upstream that only encodes: no gradients, evaluation mode, under the run's precision."""

    def __init__(self, upstream: Upstream, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        self.upstream, self.device, self.autocast = upstream.to(device).eval().requires_grad_(False), device, autocast

    def represent(self, loaded: Loaded) -> Representation:
        """The representation of a micro-batch on the device."""
        if loaded.representation is not None:
            states, lengths = loaded.representation.hidden_states, loaded.representation.lengths
            return Representation(states.to(self.device, non_blocking=True), lengths.to(self.device))
        assert loaded.audio is not None
        batch = loaded.audio.to(self.device)
        with torch.no_grad(), self.autocast():
            return self.upstream(batch.wavs, batch.lengths)


def estimate_bytes(upstream: Upstream, seconds: float) -> int:
    """Size of the stored frames of so many seconds of audio."""
    return int(4 * upstream.num_states * upstream.dim * seconds * upstream.sample_rate / upstream.stride)


def should_store(config: Store, size: int) -> tuple[bool, str]:
    """Whether to store, and why in one clause. Raises ConfigError where `frames` is asked for and does not fit."""
    free = shutil.disk_usage(_existing(store.location("", "", "").parent)).free
    limit = min(config.limit_bytes(), free // 2)
    gigabytes, allowed = f"{size / 2**30:.2f} GB", f"{limit / 2**30:.2f} GB (--store-limit {config.limit}, {free / 2**30:.0f} GB free)"
    if config.mode == "off":
        return False, "--store off"
    if size <= limit:
        return True, f"{gigabytes} of frames"
    if config.mode == "frames":
        raise ConfigError(
            f"--store frames: {gigabytes} of representations do not fit in {allowed}; raise --store-limit or give --store off"
        )
    return False, f"{gigabytes} of frames are more than {allowed}"


def build_store(folder: Path, frozen: Frozen, batches: Sequence[Sequence[Cut]], title: str, quiet: bool) -> store.Store:
    """Encode every batch once and store it."""
    live = Live(lambda cut: None, frozen.upstream.minimum_samples)

    def encoded():  # type: ignore[no-untyped-def]
        for cuts in tqdm(batches, desc=title, unit="batch", disable=quiet, leave=False):
            loaded = live.load(cuts)
            yield loaded.utt_ids, frozen.represent(loaded), loaded.samples

    return store.write(folder, frozen.upstream.num_states, frozen.upstream.dim, encoded())


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
