"""Several heads that learn at once: each is a run of its own, and all share what is read and encoded.

Heads of one seed see the same micro-batches in the same order. What each learns is what it would learn alone, up to float error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

from corpus.batching import Position
from engine.errors import CheckpointError
from engine.learners import HeadLearner, evaluate_together
from engine.stack import Stack
from engine.trainer import Evaluated, Trainer

T = TypeVar("T")
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
        every = list(self.trainers.values())
        self.stack = Stack([list(group.trainers.values()) for group in self.groups]) if Stack.serves(every) else None

    def run(self) -> None:
        """Train from where the heads stand."""
        first = next(iter(self.trainers.values()))
        for trainer in self.trainers.values():
            trainer.begin()
        title = f"train {len(self.trainers)} heads{self.mark}"
        bar = tqdm(total=first.runner.total_steps, initial=first.progress.step, desc=title, unit="step")
        before = time.monotonic()
        while self.alive and next(iter(self.alive.values())).progress.step < first.runner.total_steps:
            positions = self._accumulate()
            now = time.monotonic()
            self._update(positions, (now - before) / max(1, len(self.alive)))
            before = now
            bar.update()
            self._after()
        bar.close()
        for trainer in self.alive.values():
            trainer.prune()
            trainer.end()

    def _accumulate(self) -> list[Position]:
        """Read a step of every seed and add its gradients. Returns the positions after it."""
        if self.stack is None:
            self.groups = [group for group in self.groups if group.alive]
        read = [next(group.steps) for group in self.groups]
        count = len(read[0][1])
        for place in range(count):
            micro_batches = [(loaded[place][0], group.lead.learner.prepare(loaded[place][1])) for group, (_, loaded) in self._with(read)]
            if self.stack is not None:
                losses = dict(zip(self._names, self.stack.accumulate([prepared for _, prepared in micro_batches], count), strict=True))
            else:
                losses = {}
                for group, (number, prepared) in self._with(micro_batches):
                    losses |= group.accumulate(number, prepared, count, last=place == count - 1)
            for group in self.groups:
                group.drop_lost(losses)
        return [position for position, _ in read]

    def _update(self, positions: Sequence[Position], seconds: float) -> None:
        """Take the step of every head that still learns."""
        norms = {} if self.stack is None else dict(zip(self._names, self.stack.update(), strict=True))
        for group, position in self._with(positions):
            group.update(position, seconds, norms)

    def _with(self, values: Sequence[T]) -> Iterator[tuple[Group, T]]:
        return zip(self.groups, values, strict=True)

    @property
    def _names(self) -> list[str]:
        """Of all heads, seed by seed."""
        return [name for group in self.groups for name in group.trainers]

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

    def accumulate(self, number: int, prepared: Any, count: int, last: bool) -> dict[str, float]:
        """Add each head's gradient of a micro-batch; see `Trainer.accumulate`. Returns their losses."""
        return {name: trainer.accumulate(number, prepared, count, last) for name, trainer in self.alive.items()}

    def drop_lost(self, losses: Mapping[str, float]) -> None:
        """Stop the heads whose loss is not a number, unless it is so for all of them."""
        lost = [name for name in self.alive if math.isnan(losses[name])]
        for name in lost if len(lost) < len(self.alive) else ():
            self._drop(name, "its loss was not a number", self.alive[name].progress.step + 1)

    def update(self, position: Position, seconds: float, norms: Mapping[str, float]) -> None:
        """Take the step of every head that still learns, or note it where it was taken with the gradient's norm among `norms`."""
        for name, trainer in list(self.alive.items()):
            try:
                if name in norms:
                    trainer.advance(position, seconds, norms[name])
                else:
                    trainer.update(position, seconds)
            except CheckpointError:
                self._drop(name, "its gradient was not finite in too many updates in a row", trainer.progress.step)

    def _drop(self, name: str, why: str, step: int) -> None:
        self.alive.pop(name).end()
        self._stop(name, f"{why} (step {step})")
