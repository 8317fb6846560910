"""Where a run's representations come from: computed live from audio, or read from the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
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
    """One micro-batch, read: stored representations, audio to encode, or some of each.

    Attributes:
        labels: None for each utterance of a split without labels.
        samples: (B,) valid samples.
        representation: of the first utterances.
        audio: of the others.
    """

    utt_ids: list[str]
    labels: list[Any]
    samples: Tensor
    audio: Batch | None = None
    representation: Representation | None = None


class Live:
    """Reads audio; the upstream computes.

    Args:
        minimum_samples: the shortest utterance that the upstream encodes.
        label: what the task's loss needs of a cut; None for a split without labels.
    """

    def __init__(self, minimum_samples: int, label: Callable[[Cut], Any] | None = None) -> None:
        self.minimum_samples, self.label = minimum_samples, label

    def labels(self, cuts: Sequence[Cut]) -> list[Any]:
        return [None if self.label is None else self.label(cut) for cut in cuts]

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        batch = load_batch(cuts)
        for utt_id, samples in zip(batch.utt_ids, batch.lengths.tolist(), strict=True):
            check_samples(utt_id, samples, self.minimum_samples)
        return Loaded(batch.utt_ids, self.labels(cuts), batch.lengths, audio=batch)


def check_samples(name: str, samples: int, least: int) -> None:
    """Refuse an utterance that is too short to give a representation, naming it, what it has and what it needs."""
    if samples < least:
        raise DataError(f"{name}: {samples} samples at 16 kHz are too few for this upstream, which needs at least {least}; leave it out")


class Stored:
    """Reads a finished store, and the audio of what it does not hold: parts that are cut out anew each time."""

    def __init__(self, stored: store.Store, live: Live) -> None:
        self.store, self.live = stored, live

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        known = [cut for cut in cuts if cut.id in self.store.entries]
        others = [cut for cut in cuts if cut.id not in self.store.entries]
        if not known:
            return self.live.load(others)
        utt_ids = [cut.id for cut in known]
        representation, samples = self.store.read(utt_ids)
        first = Loaded(utt_ids, self.live.labels(known), samples, representation=representation)
        if not others:
            return first
        second = self.live.load(others)
        samples = torch.cat([samples, second.samples])
        return Loaded(utt_ids + second.utt_ids, first.labels + second.labels, samples, second.audio, representation)


Source = Live | Stored


class Frozen:
    """An upstream that only encodes: no gradients, evaluation mode, under the run's precision."""

    def __init__(self, upstream: Upstream, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        self.upstream, self.device, self.autocast = upstream.to(device).eval().requires_grad_(False), device, autocast

    def represent(self, loaded: Loaded) -> Representation:
        """The representation of a micro-batch on the device."""
        parts = []
        if loaded.representation is not None:
            states, lengths = loaded.representation.hidden_states, loaded.representation.lengths
            parts.append(Representation(states.to(self.device, non_blocking=True), lengths.to(self.device)))
        if loaded.audio is not None:
            batch = loaded.audio.to(self.device)
            with torch.no_grad(), self.autocast():
                parts.append(self.upstream(batch.wavs, batch.lengths))
        return parts[0] if len(parts) == 1 else _joined(*parts)


def _joined(first: Representation, second: Representation) -> Representation:
    """Two batches as one, padded to the longer."""
    frames = max(first.hidden_states.shape[2], second.hidden_states.shape[2])
    states = [F.pad(part.hidden_states, (0, 0, 0, frames - part.hidden_states.shape[2])) for part in (first, second)]
    return Representation(torch.cat(states, 1), torch.cat([first.lengths, second.lengths]))


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
    live = Live(frozen.upstream.minimum_samples)

    def encoded():  # type: ignore[no-untyped-def]
        for cuts in tqdm(batches, desc=title, unit="batch", disable=quiet, leave=False):
            loaded = live.load(cuts)
            yield loaded.utt_ids, frozen.represent(loaded), loaded.samples

    return store.write(folder, frozen.upstream.num_states, frozen.upstream.dim, encoded())


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
