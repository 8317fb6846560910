"""What 25 heads at once cost beside one head, and beside 25 runs: python benchmarks/sweep.py [--json FILE]

Keyword spotting's recipe on HuBERT Base from the pooled store, as in utterance.py: one head in the training loop of
`run_downstream.py -m train`, and five learning rates with five seeds in that of `--sweep lr=… --seeds 5`, each with its batches, its
clipping, its optimizer and its log. 25 runs are counted as 25 times the one. Checkpoints behind the last step of a round are left out
of both. Large blocks of memory stay in the process, as in the command.

The difference is the largest relative one of a step's loss between a head of the sweep and the same head trained alone.

The experiment is put together from measured parts: representing the corpus once, and steps.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import _hubert
import _loop
import _machine
import utterance
from _loop import Loop
from _machine import Row, Seconds, Times

from engine.together import Together
from engine.trainer import Evaluated, Trainer
from engine.training import build_trainer, training_data
from upstream.formats.wav2vec2 import WRITERS

RATES, SEEDS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5), (1337, 1338, 1339, 1340, 1341)
COMPARED = (utterance.RATE, SEEDS[0])
HEADS = ("a step of", "ms min", "ms median", "x one head", "difference")
EXPERIMENT_HEADS = ("utterances", "epochs", "one head s", "25 heads s", "ratio")
CORPORA = (256, 85_000)
"""Utterances: those that are represented here, and those of Speech Commands."""


class Sweep:
    """All rates and seeds, trained together."""

    def __init__(self, loop: Loop) -> None:
        data, plan = training_data(loop.session), loop.session.plan
        self.trainers: dict[str, Trainer] = {}
        for rate in RATES:
            for seed in SEEDS:
                optimizer = plan.config.optimizer.model_copy(update={"lr": rate})
                own = replace(
                    plan,
                    arguments=replace(plan.arguments, seed=seed),
                    config=plan.config.model_copy(update={"optimizer": optimizer}),
                    folder=loop.folder / f"{rate:g}-{seed}",
                )
                own.folder.mkdir()
                self.trainers[f"{rate:g}-{seed}"] = build_trainer(loop.session, own, loop.session.build_probe(seed), data, quiet=True)

    def steps(self, count: int, log_step: int = 100) -> Seconds:
        """The seconds of so many further steps of all heads, without the checkpoints behind the last one."""
        before = self.seconds
        for trainer in self.trainers.values():
            trainer.runner = trainer.runner.model_copy(update={"total_steps": trainer.progress.step + count, "log_step": log_step})
        with _loop.unheard():
            Together(self.trainers, tell, stop).run()
        return Seconds(self.seconds - before)

    @property
    def seconds(self) -> float:
        """Of all heads."""
        return sum(trainer.progress.seconds for trainer in self.trainers.values())

    def losses(self) -> list[float]:
        """Of the compared head, from its log."""
        rate, seed = COMPARED
        return _loop.logged_losses(self.trainers[f"{rate:g}-{seed}"].folder)


def tell(step: int, found: Mapping[str, Sequence[Evaluated]]) -> None:
    """Nothing is evaluated here."""


def stop(name: str, why: str) -> None:
    """A head that stops would make the others look cheap."""
    raise SystemExit(f"{name} stopped: {why}")


def experiment_table(represent: float, utterances: int, one: float, many: float, batch: int) -> str:
    """What one head and 25 heads cost with the representation, 20 epochs; `represent` seconds, `one` and `many` seconds a step."""
    rows = []
    for count in CORPORA:
        updates = utterance.WHOLE * count / batch
        encoding = represent * count / utterances
        single, whole = encoding + updates * one, encoding + updates * many
        rows.append([f"{count:,}", str(utterance.WHOLE), f"{single:.4g}", f"{whole:.4g}", f"{whole / single:.3g}"])
    return _machine.table(EXPERIMENT_HEADS, rows)


def measure(args: argparse.Namespace, folder: Path) -> list[Row]:
    """Compare, time, print."""
    size = utterance.QUICK if args.quick else utterance.Size(steps=200)
    checkpoint, manifest = folder / "hubert.pt", utterance.corpus(folder / "corpus", size)
    WRITERS["s3prl"](_hubert.published(_hubert.random_model(size.layers)), checkpoint)
    loop = Loop(folder / "run", "ks", checkpoint, manifest, store="pooled", settings=utterance.settings(size))
    represent = loop.represent()
    loop.prepare()
    sweep = Sweep(loop)
    loop.train(size.compared, log_step=1)
    sweep.steps(size.compared, log_step=1)
    far = utterance.difference(sweep.losses(), loop.losses())
    one, many = "one head", f"{len(sweep.trainers)} heads"
    times = _machine.interleaved({one: lambda: loop.steps(size.steps), many: lambda: sweep.steps(size.steps)}, args.rounds)
    each = {name: Times(tuple(taken / size.steps for taken in found.rounds)) for name, found in times.items()}
    rows = [
        [
            name,
            f"{1e3 * found.min:.3g}",
            f"{1e3 * found.median:.3g}",
            f"{found.min / each[one].min:.3g}",
            f"{far:.1e}" if name == many else "-",
        ]
        for name, found in each.items()
    ]
    print("\n" + _machine.table(HEADS, rows))
    print(f"\nan experiment of these parts (representing: {represent:.3g} s here, and in proportion for a larger corpus)")
    print(experiment_table(represent, size.utterances, each[one].min, each[many].min, size.batch))
    own, peer = 1e3 * each[many].min, 1e3 * len(sweep.trainers) * each[one].min
    return [
        Row("sweep-25", f"{many} at once, a step, beside as many stored runs", round(own, 3), round(peer, 3), "ms", round(peer / own, 2))
    ]


def main() -> None:
    """Time, print and write."""
    args = _machine.parser("25 heads at once beside one, and beside 25 runs.").parse_args()
    args.keep_blocks = True
    machine, versions = _machine.start(args)
    with _loop.own_cache(), tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    _machine.finish(args, "sweep", machine, versions, rows)


if __name__ == "__main__":
    main()
