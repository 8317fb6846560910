"""Small inputs for the tests above `corpus` and `upstream`: speech, an encoder, runs of a few updates, a toy learner."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from corpus.batching import Position
from engine.config import Optimizer, Runner, Scheduler
from engine.device import accelerator
from engine.optim import build_optimizer, build_scheduler
from engine.trainer import Evaluated, Trainer
from upstream.tera import Tera, TeraConfig, TransformerConfig

LETTERS = "ABDEHIMNORST"
SPLITS = {"train-clean-100": ("11", 8), "dev-clean": ("21", 2), "test-clean": ("31", 2)}

FEW_STEPS = {
    "config.runner.total_steps": 6,
    "config.runner.eval_step": 3,
    "config.runner.save_step": 2,
    "config.runner.log_step": 2,
    "config.runner.max_keep": 9,
    "config.head.projection": 16,
    "config.head.hidden": 12,
    "config.corpus.batching.batch_size": 2,
}


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Trained:
    """A finished run and what it was made from."""

    folder: Path
    data: Path
    encoder: Path


def forget_accelerator() -> None:
    """Drop Accelerate's process-wide state, and handlers that write to streams or folders of an earlier test."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    for room in ("weir", "corpus", "upstream", "downstream", "pretrain"):
        log = logging.getLogger(room)
        for handler in log.handlers:
            handler.close()
        log.handlers[:], log.propagate = [], True


def sound(text: str, seed: int) -> np.ndarray:
    """One tone burst of 0.12 s a letter, its pitch the letter's, with a short pause behind: something that can be learned."""
    draws, time = np.random.default_rng(seed), np.arange(1920) / 16_000
    bursts = []
    for letter in text:
        hertz = 250 if letter == " " else 300 * 1.14 ** (1 + LETTERS.index(letter))
        bursts += [0.3 * np.sin(2 * np.pi * hertz * time) * (letter != " "), np.zeros(640)]
    samples = np.concatenate(bursts)
    return (samples + 0.003 * draws.standard_normal(len(samples))).astype(np.float32)


def sentence(draws: np.random.Generator) -> str:
    return " ".join("".join(draws.choice(list(LETTERS), 3)) for _ in range(int(draws.integers(2, 4))))


def speech(root: Path, splits: dict[str, tuple[str, int]] = SPLITS) -> Path:
    """A folder with `LibriSpeech/` in its own layout; one speaker says the same in every split."""
    for split, (speaker, count) in splits.items():
        draws = np.random.default_rng(int(speaker))
        chapter = root / "LibriSpeech" / split / speaker / "1"
        chapter.mkdir(parents=True)
        lines = []
        for index in range(count):
            text, utt_id = sentence(draws), f"{speaker}-1-{index:04d}"
            soundfile.write(chapter / f"{utt_id}.flac", sound(text, index), 16_000)
            lines.append(f"{utt_id} {text}\n")
        (chapter / f"{speaker}-1.trans.txt").write_text("".join(lines))
    return root


def encoder(folder: Path) -> Path:
    """A small TERA with random weights in native format."""
    block = TransformerConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Tera(TeraConfig(transformer=block)).save_native(folder)
    return folder


def overrides(**changed: object) -> str:
    """`-o` text for a run of a few updates; keyword `a__b` changes `config.a.b`."""
    values = FEW_STEPS | {f"config.{key.replace('__', '.')}": value for key, value in changed.items()}
    return ",,".join(f"{key}={value}" for key, value in values.items())


def downstream(*words: object) -> int:
    """Run the downstream command in this process. Returns its exit status."""
    import run_downstream

    forget_accelerator()
    try:
        return run_downstream.main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)


def train_words(folder: Path, data: Path, encoder: Path | None, **changed: object) -> list[object]:
    """A training command of a few updates; without an encoder, on filterbanks."""
    upstream = ["-u", "tera", "-k", encoder] if encoder else ["-u", "fbank"]
    words = ["-m", "train", *upstream, "-d", "asr", "--data", data, "--preset", "mini", "--device", "cpu"]
    return [*words, "-p", folder, "-o", overrides(**changed)]


def train(folder: Path, data: Path, encoder: Path, **changed: object) -> Trained:
    """Train for a few updates."""
    assert downstream(*train_words(folder, data, encoder, **changed)) == 0
    return Trained(folder, data, encoder)


def copy_of(run: Trained, folder: Path) -> Path:
    """A copy of a run that a test may write into."""
    shutil.copytree(run.folder, folder)
    return folder


def lines(folder: Path, split: str | None = None) -> list[dict[str, Any]]:
    """`metrics.jsonl`, or one split's lines of it."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if split is None or row["split"] == split]


class Toy(nn.Module):
    """A model with dropout: its losses tell whether random numbers are those of an uninterrupted run."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(4, 1), nn.Dropout(0.5)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"Downstream": self.linear}

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x))


class ToyLearner:
    """Five micro-batches an epoch, in an order that each epoch shuffles anew.

    Args:
        values: what successive evaluations give; higher is better.
        poisoned: micro-batches (in global order) whose loss is not a number.
    """

    def __init__(self, values: tuple[float, ...] = (), poisoned: tuple[int, ...] = ()) -> None:
        torch.manual_seed(0)
        self.module, self.values, self.poisoned = Toy(), list(values), set(poisoned)
        self.seen: list[int] = []
        self.losses: list[float] = []

    def stream(self, start: Position) -> Iterator[tuple[Position, list[int]]]:
        epoch, index = start.epoch, start.index
        while True:
            order = np.random.default_rng(epoch).permutation(5).tolist()
            for place in range(index, 5):
                yield Position(epoch, place + 1) if place < 4 else Position(epoch + 1), [order[place]]
            epoch, index = epoch + 1, 0

    reads_ahead = True

    def load(self, cuts: list[int]) -> int:
        return cuts[0]

    def prepare(self, loaded: int) -> int:
        return loaded

    def compute(self, module: nn.Module, prepared: int) -> tuple[Tensor, dict[str, float]]:
        number, x = len(self.seen), torch.randn(8, 4, generator=torch.Generator().manual_seed(prepared))
        self.seen.append(prepared)
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        if number in self.poisoned:
            loss = loss * float("nan")
        self.losses.append(float(loss.detach()))
        return loss, {"number": float(prepared)}

    def evaluate(self, step: int) -> list[Evaluated]:
        torch.rand(3)  # whatever evaluation draws must not show in what is trained after it
        return [Evaluated("dev", {"loss": 1.0}, self.values.pop(0) if self.values else None)]


def trainer(folder: Path, learner: ToyLearner, **runner: Any) -> Trainer:
    """A trainer of the toy learner."""
    folder.mkdir(parents=True, exist_ok=True)
    forget_accelerator()
    options = Runner(**{"total_steps": 12, "log_step": 2, "eval_step": 5, "save_step": 3, "max_keep": 9, "prefetch": 2} | runner)
    optimizer = build_optimizer(Optimizer(name="Adam", lr=0.05), [learner.module])
    scheduler = build_scheduler(Scheduler(name="linear", warmup=0.2), optimizer, options.total_steps)
    identity = {"Args": {"downstream": "toy"}, "Config": {"task": "toy"}}
    return Trainer(
        accelerator("cpu", "fp32"), folder, options, learner, optimizer, scheduler, seed=3, identity=identity, best_name="dev-best.ckpt"
    )  # type: ignore[arg-type]
