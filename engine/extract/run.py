"""`-m extract`: hidden states, their means or discrete codes of audio, written to disk; a killed run goes on where it was."""

from __future__ import annotations

import itertools
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

import upstream
from corpus.audio import SAMPLE_RATE, read_audio
from corpus.batch import Batch
from corpus.errors import DataError
from engine import experiment, results
from engine.device import accelerator as build_accelerator
from engine.extract import utterances
from engine.extract.encoder import Encoder
from engine.extract.folder import (
    KIND,
    SCHEMA,
    SHARD_SECONDS,
    Failure,
    Part,
    Shard,
    claimed,
    list_fingerprint,
    plan_shards,
    read_manifest,
    read_parts,
    remaining,
    write_index,
    write_part,
)
from engine.extract.plan import Extraction
from engine.extract.shards import Entry, shard_name
from engine.extract.utterances import READERS, Utterance
from engine.prefetch import prefetch
from engine.sources import check_samples

log = logging.getLogger("weir")

BATCHES_AHEAD = 4
"""Batches of audio that are read while one is encoded."""


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        utterances: in the folder.
        extracted: by this run, with their hours of audio, the seconds it took, and how many times faster than the audio that was.
        failed: could not be used.
        gigabytes: (1e9 bytes) of arrays in the folder.
    """

    utterances: int
    extracted: int
    failed: int
    hours: float
    gigabytes: float
    seconds: float
    times_realtime: float


@dataclass(frozen=True)
class Encoded:
    """A shard in memory."""

    part: Part
    arrays: Sequence[np.ndarray]


def run(extraction: Extraction, device: str | None) -> Summary | None:
    """Extract what is not on disk yet. Audio that cannot be used is named on stderr, and the rest is still done.

    Over several processes each one encodes and writes its own shards; the main one returns what all did.

    Raises:
        ConfigError: the upstream does not give what is asked for, or the folder holds something else.
        DataError: the disk is full; what was written stays, and the same command goes on.
    """
    accelerator = build_accelerator(device, extraction.precision)
    experiment.start_logging(accelerator.is_main_process)
    with accelerator.main_process_first():
        model = upstream.load(extraction.upstream, extraction.checkpoint, padding=extraction.padding)
    for note in model.notes:
        log.info("%s: %s", extraction.upstream, note)
    encoder = Encoder(extraction, model, accelerator)
    about = _about(extraction, encoder)
    main = accelerator.is_main_process
    with claimed(extraction.folder, about, extraction.overwrite) if main else nullcontext():
        accelerator.wait_for_everyone()
        parts = read_parts(extraction.folder)
        shards, lengths = _plan(extraction, encoder, parts)
        accelerator.wait_for_everyone()  # nobody writes before all have seen what is there
        began = time.perf_counter()
        work = _Work(extraction, encoder, about, lengths, quiet=not main)
        work.do(shards[accelerator.process_index :: accelerator.num_processes])
        accelerator.wait_for_everyone()
        seconds = time.perf_counter() - began
        if not main:
            return None
        entries, failures = write_index(extraction.folder, extraction.utterances)
    before = {entry.key for part in parts for entry in part.entries}
    return _summary(extraction.folder, entries, [entry for entry in entries if entry.key not in before], failures, seconds)


def _summary(folder: Path, entries: Sequence[Entry], new: Sequence[Entry], failures: Sequence[Failure], seconds: float) -> Summary:
    audio = sum(entry.samples for entry in new) / SAMPLE_RATE
    size = sum((folder / name).stat().st_size for name in {entry.shard for entry in entries})
    return Summary(
        utterances=len(entries),
        extracted=len(new),
        failed=len(failures),
        hours=round(audio / 3600, 4),
        gigabytes=round(size / 1e9, 6),
        seconds=round(seconds, 2),
        times_realtime=round(audio / seconds, 1),
    )


def _about(extraction: Extraction, encoder: Encoder) -> dict[str, Any]:
    """`manifest.json`."""
    model, layers = encoder.model, encoder.layers
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "upstream": extraction.upstream,
        "checkpoint": extraction.checkpoint,
        "fingerprint": upstream.fingerprint(model),
        "padding": model.padding,
        "what": extraction.what,
        "layers": None if layers is None else list(layers),
        "dim": None if layers is None else model.dim,
        "dtype": extraction.dtype,
        "format": extraction.format,
        "precision": extraction.precision,
        "forward": encoder.frozen.form,
        "sample_rate": model.sample_rate,
        "stride": model.stride,
        "utterances": list_fingerprint(extraction.utterances),
        "versions": results.versions(),
    }


def _plan(extraction: Extraction, encoder: Encoder, parts: Sequence[Part]) -> tuple[list[Shard], dict[str, float]]:
    """The shards that are still to be written, and the seconds of their utterances by key."""
    there = read_manifest(extraction.folder) or {}
    same = there.get("utterances") == list_fingerprint(extraction.utterances)
    runs, retried = remaining(extraction.utterances, parts, keep_holes=same)
    lengths = utterances.seconds([*itertools.chain(*runs), *retried])

    def share(utterance: Utterance) -> float:
        audio = lengths[utterance.key]
        return max(encoder.bytes(audio) / extraction.shard_bytes, audio / SHARD_SECONDS)

    shards = plan_shards(runs, retried, [part.number for part in parts], share)
    hours, size = sum(lengths.values()) / 3600, sum(map(encoder.bytes, lengths.values())) / 1e9
    free = shutil.disk_usage(extraction.folder).free / 1e9
    done = sum(len(part.entries) for part in parts)
    sizes = f"{hours:.2f} h, about {size:.2f} GB ({free:.1f} GB free){f'; {done:,} are there' if done else ''}"
    log.info("%s utterances to extract, %s -> %s", f"{len(lengths):,}", sizes, extraction.folder)
    return shards, lengths


class _Work:
    """This process's shards: audio is read ahead, and a shard is written while the next one is encoded."""

    def __init__(
        self, extraction: Extraction, encoder: Encoder, about: Mapping[str, Any], lengths: Mapping[str, float], quiet: bool
    ) -> None:
        self.extraction, self.encoder, self.about, self.lengths, self.quiet = extraction, encoder, about, lengths, quiet

    def do(self, shards: Sequence[Shard]) -> None:
        """Encode and write."""
        batches = [(shard, batch) for shard in shards for batch in _batches(shard, self.lengths, self.extraction.batch_seconds)]
        total = sum(self._milliseconds(utterance) for _, batch in batches for utterance in batch)
        hours = "{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}]"
        alone = partial(threadpool_limits, limits=1, user_api="openmp")  # as `prefetch` does: no team of threads for each reader
        with (
            ThreadPoolExecutor(READERS, initializer=alone) as readers,
            tqdm(total=total, unit_scale=1 / 3.6e6, desc="extract", bar_format=hours, disable=self.quiet or not batches) as bar,
        ):

            def read(item: tuple[Shard, list[Utterance]]) -> tuple[Shard, list[_Read]]:
                return item[0], list(readers.map(self._read, item[1]))

            def encoded() -> Iterator[Encoded]:
                for shard, group in itertools.groupby(prefetch(read, batches, BATCHES_AHEAD), key=lambda item: item[0]):
                    found = self._encode(shard, (reads for _, reads in group), bar)
                    if found.part.entries or not shard.retried:  # a retry without success leaves nothing
                        yield found

            for _ in prefetch(self._write, encoded(), 1):
                pass

    def _milliseconds(self, utterance: Utterance) -> int:
        """What the progress bar counts: whole numbers add up to their sum."""
        return round(1000 * self.lengths[utterance.key])

    def _read(self, utterance: Utterance) -> _Read:
        """The samples of an utterance, or what is wrong with it."""
        try:
            samples = read_audio(utterance.path, utterance.start, utterance.duration)
            check_samples(str(utterance.path), len(samples), self.encoder.minimum_samples)
        except DataError as error:
            return _Read(utterance, error=str(error))
        return _Read(utterance, torch.from_numpy(samples))

    def _encode(self, shard: Shard, batches: Iterator[list[_Read]], bar: tqdm[Any]) -> Encoded:
        entries: dict[str, tuple[Entry, np.ndarray]] = {}
        failures: dict[str, Failure] = {}
        for reads in batches:
            good = [read for read in reads if read.samples is not None]
            errors = {read.utterance: read.error for read in reads if read.error}
            for read, found in zip(good, self._encode_batch(good), strict=True):
                if found is None:
                    errors[read.utterance] = self._misfit(read.utterance)
                else:
                    entries[read.utterance.key] = self._entry(shard, read, found[1]), found[0]
            for utterance, error in errors.items():
                tqdm.write(f"error: {error}", file=sys.stderr)
                failures[utterance.key] = Failure(utterance.utt_id, utterance.key, error)
            bar.update(sum(self._milliseconds(read.utterance) for read in reads))
        keys = [utterance.key for utterance in shard.utterances]  # the order of the list, whatever that of the batches
        done = [entries[key] for key in keys if key in entries]
        failed = [failures[key] for key in keys if key in failures]
        return Encoded(Part(shard.number, [entry for entry, _ in done], failed), [array for _, array in done])

    def _encode_batch(self, reads: Sequence[_Read]) -> list[tuple[np.ndarray, int] | None]:
        if not reads:
            return []
        wavs = [read.samples for read in reads if read.samples is not None]
        lengths = torch.tensor([len(wav) for wav in wavs])
        return self.encoder.encode(Batch(pad_sequence(wavs, batch_first=True), lengths, [read.utterance.key for read in reads]))

    def _entry(self, shard: Shard, read: _Read, frames: int) -> Entry:
        assert read.samples is not None
        utterance, layers = read.utterance, self.encoder.layers
        name = shard_name(self.extraction.format, shard.number, utterance.key)
        where = str(utterance.path), utterance.start, utterance.duration
        return Entry(utterance.utt_id, *where, name, utterance.key, len(read.samples), frames, layers)

    def _misfit(self, utterance: Utterance) -> str:
        if self.extraction.dtype == "float16":
            return f"{utterance.path}: some values of its hidden states do not fit float16; give --dtype float32"
        return (
            f"{utterance.path}: {self.extraction.upstream} gives hidden states that are not finite; give --precision fp32, or leave it out"
        )

    def _write(self, encoded: Encoded) -> None:
        write_part(self.extraction.folder, encoded.part, encoded.arrays, self.about)


@dataclass(frozen=True)
class _Read:
    """An utterance's samples (T,) float32, or why there are none."""

    utterance: Utterance
    samples: Tensor | None = None
    error: str = ""


def _batches(shard: Shard, lengths: Mapping[str, float], budget: float) -> Iterator[list[Utterance]]:
    """The shard's utterances, longest first, in batches of at most `budget` padded seconds; one may be longer."""
    batch: list[Utterance] = []
    for utterance in sorted(shard.utterances, key=lambda each: (-lengths[each.key], each.key)):
        if batch and (len(batch) + 1) * lengths[batch[0].key] > budget:
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch
