"""How fast a pooled head trains from the store beside s3prl's live encoder: python benchmarks/utterance.py [--json FILE] [--whole]

Keyword spotting's recipe on HuBERT Base: 32 utterances of 1 s a step, mean pooling, 12 classes, Adam, clip 1. Ours is the training
loop that `run_downstream.py -m train` runs, with its batches, its reading from the store, its log and its checkpoints, on a corpus
of audio files; s3prl's are its own expert, featurizer and head, stepped as its runner does. `weir, no loop` is the least that any
loop over these means could take: one gather and one update.

The difference is the largest relative one of a step's loss from s3prl's in fp32, over the same first steps from the same weights
(all utterances are equally long: what s3prl pads otherwise changes its values).

The experiment is put together from measured parts: representing the corpus once, and steps; `--whole` runs 20 epochs of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _hubert
import _loop
import _machine
import _s3prl
import torch
from _loop import Loop, Utterance
from _machine import Row, Times
from _s3prl import Live
from torch import Tensor

from corpus.batch import load_batch
from corpus.speech_commands import KEYWORDS, SILENCE, UNKNOWN
from upstream.formats.wav2vec2 import WRITERS

CLASSES = [*KEYWORDS, UNKNOWN, SILENCE]
RATE = 1e-4  # the recipe's
EPOCHS = (1, 5, 20, 100)
WHOLE = 20
STEP_HEADS = ("a step", "ms min", "ms median", "steps/s", "x s3prl", "difference")
PART_HEADS = ("part", "s min", "s median")
EXPERIMENT_HEADS = ("epochs", "weir s", "s3prl s", "ratio")
OURS, BARE, LIVE, LOWER = "weir, pooled store", "weir, no loop", "s3prl, live", "s3prl, live, encoder in bf16"


@dataclass(frozen=True)
class Size:
    """How much is run: layers of the encoder, seconds and number of utterances, compared steps, and steps of ours a round."""

    layers: int = 12
    seconds: float = 1.0
    utterances: int = 256
    batch: int = 32
    compared: int = 50
    steps: int = 1000


QUICK = Size(layers=1, seconds=0.2, utterances=24, batch=8, compared=3, steps=10)

Batch = tuple[list[Tensor], list[int]]
"""Waveforms (T,) and classes."""


class Bare:
    """Updates of a head on means that lie in memory.

    Args:
        means: (N, L, D).
    """

    def __init__(self, loop: Loop, batch: int) -> None:
        cuts = list(loop.session.cuts(loop.split))
        loaded = loop.trainer.learner.load(cuts)
        self.means, self.labels = loaded.representation.hidden_states[:, :, 0].transpose(0, 1).contiguous(), torch.tensor(loaded.labels)
        states, dim = self.means.shape[1:]
        self.weights = torch.zeros(states, requires_grad=True)
        self.head = torch.nn.Sequential(torch.nn.Linear(dim, 256), torch.nn.Linear(256, len(CLASSES)))
        self.parameters = [self.weights, *self.head.parameters()]
        self.optimizer, self.batch = torch.optim.Adam(self.parameters, lr=RATE, fused=True), batch

    def train(self, steps: int) -> None:
        """Take so many steps."""
        for _ in range(steps):
            chosen = torch.randint(len(self.means), (self.batch,))
            mixed = torch.einsum("bld,l->bd", self.means[chosen], self.weights.softmax(0))
            torch.nn.functional.cross_entropy(self.head(mixed), self.labels[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()


def live(encoder: torch.nn.Module, loop: Loop, lower: bool = False) -> Live:
    """s3prl's training from our head's first weights; `lower` encodes in bf16."""
    head = _s3prl.pooled_head(loop.session.encoder.dim, 256, len(CLASSES)).take(loop.head)
    return Live(encoder, head, loop.task.loss, RATE, lower=lower)


def settings(size: Size) -> dict[str, object]:
    """What differs from the recipe: the batch of a quick run, and that every step is a step of the run."""
    return {"corpus.batching.batch_size": size.batch, "optimizer.lr": RATE, "runner.total_steps": 10 * size.steps}


def corpus(folder: Path, size: Size) -> Path:
    """Utterances of all classes in turn; a class is a tone. Returns their manifest."""
    chosen = [(number % len(CLASSES), CLASSES[number % len(CLASSES)]) for number in range(size.utterances)]
    return _loop.write_corpus(folder, [Utterance(size.seconds, name, 200.0 * 1.2**place) for place, name in chosen])


def audio(loop: Loop, count: int) -> list[Batch]:
    """The first batches that our loop hears, as audio."""
    found = []
    for cuts in loop.batches(count):
        wavs = load_batch(cuts).wavs
        found.append((list(wavs), [loop.task.label(cut) for cut in cuts]))
    return found


def difference(losses: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative difference of a step's loss."""
    return max(abs(own - right) / abs(right) for own, right in zip(losses, expected, strict=True))


def step_table(times: dict[str, Times], steps: dict[str, int], differences: dict[str, float]) -> str:
    """Each loop's time a step, its speed, and how its losses differ."""
    rows = []
    for name, taken in times.items():
        low, middle = taken.min / steps[name], taken.median / steps[name]
        against = times[LIVE].min / steps[LIVE] / low
        far = f"{differences[name]:.1e}" if name in differences else "-"
        rows.append([name, f"{1e3 * low:.3g}", f"{1e3 * middle:.3g}", f"{1 / low:.3g}", f"{against:.4g}", far])
    return _machine.table(STEP_HEADS, rows)


def experiment_table(represent: Times, stored: float, encoded: float, updates: int) -> str:
    """What representing costs and what epochs cost, put together; `stored` and `encoded` in seconds a step, `updates` an epoch."""
    parts = [["weir, represent once", f"{represent.min:.3g}", f"{represent.median:.3g}"]]
    parts += [
        [f"{name}, an epoch of {updates} steps", f"{updates * each:.3g}", "-"] for name, each in (("weir", stored), ("s3prl", encoded))
    ]
    rows = []
    for epochs in EPOCHS:
        own, peer = represent.min + epochs * updates * stored, epochs * updates * encoded
        rows.append([str(epochs), f"{own:.3g}", f"{peer:.3g}", f"{peer / own:.3g}"])
    return _machine.table(PART_HEADS, parts) + "\n\nan experiment of these parts\n" + _machine.table(EXPERIMENT_HEADS, rows)


def whole(folder: Path, checkpoint: Path, manifest: Path, size: Size, batches: Sequence[Batch]) -> str:
    """A run of 20 epochs from loading the encoder to the last step, once: ours, then s3prl's."""
    updates = size.utterances // size.batch
    began = time.perf_counter()
    loop = Loop(folder / "whole", "ks", checkpoint, manifest, store="pooled", settings=settings(size))
    loop.represent()
    loop.prepare()
    loop.train(WHOLE * updates)
    own = time.perf_counter() - began
    began = time.perf_counter()
    peer_loop = live(_s3prl.expert(checkpoint), loop)
    for number in range(WHOLE * updates):
        peer_loop.step(*batches[number % len(batches)])
    peer = time.perf_counter() - began
    return f"the whole of {WHOLE} epochs, once: weir {own:.1f} s, s3prl {peer:.1f} s, {peer / own:.1f} x"


def measure(args: argparse.Namespace, folder: Path) -> list[Row]:
    """Compare, time, print."""
    size = QUICK if args.quick else Size()
    checkpoint, manifest = folder / "hubert.pt", corpus(folder / "corpus", size)
    WRITERS["s3prl"](_hubert.published(_hubert.random_model(size.layers)), checkpoint)
    loop = Loop(folder / "run", "ks", checkpoint, manifest, store="pooled", settings=settings(size))
    represent = Times(tuple(loop.represent() for _ in range(args.rounds + 1))[1:])
    loop.prepare()
    batches, encoder = audio(loop, size.compared), _s3prl.expert(checkpoint)
    plain, lower = live(encoder, loop), live(encoder, loop, lower=True)
    expected = [plain.step(*batch) for batch in batches]
    loop.train(size.compared, log_step=1)
    differences = {OURS: difference(loop.losses(), expected), LOWER: difference([lower.step(*batch) for batch in batches], expected)}
    bare = Bare(loop, size.batch)
    steps = {OURS: size.steps, BARE: size.steps, LIVE: 1, LOWER: 1}
    times = _machine.interleaved(
        {
            OURS: lambda: loop.train(size.steps),
            BARE: lambda: bare.train(size.steps),
            LIVE: lambda: plain.step(*batches[0]),
            LOWER: lambda: lower.step(*batches[0]),
        },
        args.rounds,
    )
    print(
        f"\nHuBERT Base, batch {size.batch} x {size.seconds:g} s, {size.compared} compared steps\n{step_table(times, steps, differences)}"
    )
    stored, encoded = times[OURS].min / size.steps, times[LIVE].min
    print(f"\n{size.utterances} utterances\n{experiment_table(represent, stored, encoded, size.utterances // size.batch)}", flush=True)
    if args.whole:
        print("\n" + whole(folder, checkpoint, manifest, size, batches))
    what = f"pooled KS step, stored against s3prl live, fp32, batch {size.batch} x {size.seconds:g} s"
    return [Row("pooled-step", what, round(1 / stored, 2), round(1 / encoded, 4), "steps/s", round(encoded / stored, 1))]


def main() -> None:
    """Time, print and write."""
    parser = _machine.parser("A pooled head's training from the store beside s3prl's live encoder.")
    parser.add_argument("--whole", action="store_true", help=f"also run {WHOLE} epochs of both from beginning to end")
    args = parser.parse_args()
    _s3prl.require(parser)
    machine, versions = _machine.start(args)
    with tempfile.TemporaryDirectory() as folder, _loop.own_cache():
        rows = measure(args, Path(folder))
    _machine.finish(args, "utterance", machine, versions, rows)


if __name__ == "__main__":
    main()
