"""Weir's own training as a command runs it: audio files, a frozen encoder, the store, the training loop."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from _machine import Seconds
from lhotse.cut import Cut

import downstream
from corpus.audio import SAMPLE_RATE
from corpus.batching import Position
from engine.parser import downstream_parser
from engine.plan import plan_training
from engine.session import HeadSession
from engine.training import build_trainer, training_data


@dataclass(frozen=True)
class Utterance:
    """Noise and a tone of so many seconds, and what the manifest calls its text."""

    seconds: float
    text: str
    hertz: float = 440.0


def write_corpus(folder: Path, utterances: Sequence[Utterance]) -> Path:
    """The utterances as wav files. Returns their manifest."""
    folder.mkdir(parents=True)
    manifest = folder / "manifest.csv"
    with open(manifest, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "text"])
        for number, utterance in enumerate(utterances):
            time_axis = np.arange(round(utterance.seconds * SAMPLE_RATE)) / SAMPLE_RATE
            noise = np.random.default_rng(number).standard_normal(len(time_axis))
            soundfile.write(folder / f"{number:06d}.wav", 0.1 * np.sin(2 * np.pi * utterance.hertz * time_axis) + 0.03 * noise, SAMPLE_RATE)
            rows.writerow([f"{number:06d}.wav", utterance.text])
    return manifest


@contextlib.contextmanager
def own_cache() -> Iterator[None]:
    """A cache that goes with the benchmark: it measures the writing of stores, and leaves those of others alone."""
    before = os.environ.get("WEIR_CACHE")
    with tempfile.TemporaryDirectory(prefix="weir-benchmark-", ignore_cleanup_errors=True) as folder:
        os.environ["WEIR_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("WEIR_CACHE")
            if before is not None:
                os.environ["WEIR_CACHE"] = before


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Progress bars and log lines go nowhere."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def logged_losses(folder: Path) -> list[float]:
    """The training losses in a run's log, in order."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if line["split"] == "train"]


class Loop:
    """A run of the benchmark's recipe (preset `superb`) on the CPU.

    Args:
        folder: of the run; not there yet.
        settings: values of the configuration, `{"runner.log_step": 1}`.
        store: what `--store` says.
    """

    def __init__(self, folder: Path, task: str, checkpoint: Path, manifest: Path, *, store: str, settings: dict[str, Any]) -> None:
        splits = ("train", downstream.registry.load(task).dev_split)
        values: dict[str, Any] = {f"corpus.manifests.{split}": manifest for split in splits}
        values |= {"runner.eval_dataloaders": "[]", **settings}
        words = ["-m", "train", "-u", "hubert", "-k", checkpoint, "-d", task, "-p", folder, "--preset", "superb", "--store", store]
        words += ["--device", "cpu", "-o", ",,".join(f"config.{name}={value}" for name, value in values.items())]
        args = downstream_parser().parse_args([str(word) for word in words])
        folder.mkdir(parents=True)
        with unheard():
            self.session = HeadSession(plan_training(args, downstream.registry), "cpu")
        self.folder, self.task, self.probe = folder, self.session.task, self.session.probe
        self.split, self.store = self.task.train_split, Path(os.environ["WEIR_CACHE"]) / "representations"
        self.head = {name: tensor.clone() for name, tensor in self.probe.head.state_dict().items()}

    def represent(self) -> float:
        """Store the training data anew. Returns the seconds that it takes."""
        shutil.rmtree(self.store, ignore_errors=True)
        began = time.perf_counter()
        with unheard():
            self.session.source(self.split)
        return time.perf_counter() - began

    def prepare(self) -> None:
        """Build the training loop, and the store where it is not there."""
        with unheard():
            self.trainer = build_trainer(self.session, self.session.plan, self.probe, training_data(self.session))

    def train(self, steps: int, log_step: int = 100) -> None:
        """Go on for so many steps: batches, reading, updates, log, and a checkpoint at the end."""
        runner = self.trainer.runner
        self.trainer.runner = runner.model_copy(update={"total_steps": self.trainer.progress.step + steps, "log_step": log_step})
        with unheard():
            self.trainer.run()

    def steps(self, count: int) -> Seconds:
        """The seconds of so many further steps, without the checkpoint behind the last one."""
        before = self.trainer.progress.seconds
        self.train(count)
        return Seconds(self.trainer.progress.seconds - before)

    def losses(self) -> list[float]:
        """Those that the log has, in order."""
        return logged_losses(self.folder)

    def batches(self, count: int) -> list[list[Cut]]:
        """The first batches that training hears."""
        stream = self.trainer.learner.stream(Position())
        return [list(next(stream)[1]) for _ in range(count)]

    def evaluate(self, cuts: Sequence[Cut]) -> float:
        """The loss of a batch out of the store, without dropout."""
        learner = self.trainer.learner
        self.probe.eval()
        with torch.no_grad():
            return float(learner.compute(self.probe, learner.prepare(learner.load(cuts)))[0])
