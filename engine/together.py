"""Several heads that learn at once: each is a run of its own, and all share what is read and encoded.

Heads of one seed see the same micro-batches in the same order. What each learns is what it would learn alone, up to float error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

from corpus.batching import Position
from engine.errors import CheckpointError
from engine.learners import HeadLearner, evaluate_together
from engine.stack import Stack
from engine.trainer import Evaluated, Trainer

Tell = Callable[[int, Mapping[str, Sequence[Evaluated]]], None]
Stop = Callable[[str, str], None]


class Together:
    """Trains heads by name, a step of all of them at a time, to the last one.

    A head whose loss is not a number stops alone, unless it is so for all heads: then the batch is to blame, and is left out. So does
    one whose gradient is not finite for too long.

    Args:
        trainers: all at the same step, over the same data.
        tell: is called with the step and the evaluations of every head that still learns.
        stop: is called with the name of a head that stops, and why.
    """

    def __init__(self, trainers: Mapping[str, Trainer], tell: Tell, stop: Stop, mark: str = "") -> None:
        self.trainers, self.tell, self.mark = dict(trainers), tell, mark
        by_seed: dict[int, dict[str, Trainer]] = {}
        for name, trainer in self.trainers.items():
            by_seed.setdefault(trainer.seed, {})[name] = trainer
        self.groups = [Group(members, stop) for members in by_seed.values()]

    def run(self) -> None:
        """Train from where the heads stand."""
        first = next(iter(self.trainers.values()))
        for trainer in self.trainers.values():
            trainer.begin()
        title = f"train {len(self.trainers)} heads{self.mark}"
        bar = tqdm(total=first.runner.total_steps, initial=first.progress.step, desc=title, unit="step")
        before = time.monotonic()
        while self.alive and next(iter(self.alive.values())).progress.step < first.runner.total_steps:
            for group in self.groups:
                group.accumulate()
            now = time.monotonic()
            share = (now - before) / max(1, len(self.alive))
            for group in self.groups:
                group.update(share)
            before = now
            bar.update()
            self._after()
        bar.close()
        for trainer in self.alive.values():
            trainer.prune()
            trainer.end()

    @property
    def alive(self) -> dict[str, Trainer]:
        """The heads that still learn."""
        return {name: trainer for group in self.groups for name, trainer in group.alive.items()}

    def _after(self) -> None:
        """Log, evaluate and save where the step asks for it; older states go when all new ones are written."""
        alive = self.alive
        if not alive:
            return
        one = next(iter(alive.values()))
        if one.is_due(one.runner.log_step):
            for trainer in alive.values():
                trainer.log_training()
        if one.is_due(one.runner.eval_step):
            found = evaluate_together([_learner(trainer) for trainer in alive.values()])
            for trainer, results in zip(alive.values(), found, strict=True):
                trainer.evaluate(results)
            self.tell(one.progress.step, dict(zip(alive, found, strict=True)))
        if one.is_due(one.runner.save_step):
            for trainer in alive.values():
                trainer.save(f"states-{trainer.progress.step}.ckpt")
            for trainer in alive.values():
                trainer.prune()


def _learner(trainer: Trainer) -> HeadLearner:
    assert isinstance(trainer.learner, HeadLearner)
    return trainer.learner


class Group:
    """The heads of one seed; `alive` are those that still learn."""

    def __init__(self, trainers: Mapping[str, Trainer], stop: Stop) -> None:
        self.trainers, self.alive, self._stop = dict(trainers), dict(trainers), stop
        self.lead = next(iter(self.trainers.values()))
        self.steps = iter(self.lead.read())
        self.position = Position(0, 0)
        self.stack = Stack(list(self.trainers.values())) if Stack.serves(list(self.trainers.values())) else None

    def accumulate(self) -> None:
        """Read a step and add its gradients."""
        if not self.alive:
            return
        self.position, loaded = next(self.steps)
        for place, (number, inputs) in enumerate(loaded):
            prepared, count, last = self.lead.learner.prepare(inputs), len(loaded), place == len(loaded) - 1
            if self.stack is not None:
                losses = dict(zip(self.trainers, self.stack.accumulate(prepared, count), strict=True))
            else:
                losses = {name: trainer.accumulate(number, prepared, count, last) for name, trainer in self.alive.items()}
            lost = [name for name, loss in losses.items() if name in self.alive and math.isnan(loss)]
            for name in lost if len(lost) < len(self.alive) else ():
                self.stop(name, "its loss was not a number", next(iter(self.alive.values())).progress.step + 1)

    def update(self, seconds: float) -> None:
        """Take the step of every head that still learns."""
        if not self.alive:
            return
        norms = dict(zip(self.trainers, self.stack.update(), strict=True)) if self.stack is not None else {}
        for name, trainer in list(self.alive.items()):
            try:
                if name in norms:
                    trainer.advance(self.position, seconds, norms[name])
                else:
                    trainer.update(self.position, seconds)
            except CheckpointError:
                self.stop(name, "its gradient was not finite in too many updates in a row", trainer.progress.step)

    def stop(self, name: str, why: str, step: int) -> None:
        """Let a head learn no more."""
        self.alive.pop(name).end()
        self._stop(name, f"{why} (step {step})")
