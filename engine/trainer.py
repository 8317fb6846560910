"""The one training loop, for heads and for pre-training, on one process or many.

A step is one optimizer update over n = accumulation × processes micro-batches. They come in one global order; process i takes
micro-batches i, i + processes, …, and every draw within one is keyed by (seed, step, micro-batch). So two processes with one
micro-batch each equal one process that accumulates two, and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse.cut import Cut
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from corpus.batching import Position
from corpus.files import write_atomically
from engine import checkpoint, experiment
from engine.config import Runner
from engine.errors import CheckpointError
from engine.prefetch import prefetch
from engine.randomness import seed_all
from engine.results import peak_memory_bytes

log = logging.getLogger("weir")


@dataclass(frozen=True)
class Evaluated:
    """One split's outcome during training. `value` orders checkpoints, higher is better; None does not select."""

    split: str
    measures: dict[str, float]
    value: float | None = None


class Learner(Protocol):
    """What the loop needs to know of what it trains."""

    @property
    def module(self) -> nn.Module:
        """Every trained parameter; its `parts` names the modules for checkpoints."""

    def stream(self, start: Position) -> Iterator[tuple[Position, Sequence[Cut]]]:
        """Micro-batches from a position on, without end, each with the position after it."""

    @property
    def reads_ahead(self) -> bool:
        """Whether reading takes long enough for a thread of its own to pay."""

    def load(self, cuts: Sequence[Cut]) -> Any:
        """Read one micro-batch; may run in a thread of its own, and draws nothing."""

    def prepare(self, loaded: Any) -> Any:
        """What needs no gradient, done on the device: the same for every head, and draws nothing."""

    def compute(self, module: nn.Module, prepared: Any) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss of one micro-batch and further measures to log."""

    def evaluate(self, step: int) -> list[Evaluated]:
        """Every split that is watched; the same on every process."""


@dataclass
class Progress:
    """Where a run stands: all that a resumed run needs beside weights, optimizer and scheduler."""

    step: int = 0
    position: Position = field(default_factory=lambda: Position(0, 0))
    best: float | None = None
    totals: dict[str, list[float]] = field(default_factory=dict)
    """Sum and count of each measure since the last logged line, over all processes."""
    skipped: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0

    def state(self) -> dict[str, Any]:
        return {**vars(self), "position": [self.position.epoch, self.position.index]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        return cls(**{**state, "position": Position(*state["position"])})


class Trainer:
    """Runs a learner to its last step.

    Args:
        accelerator: device, precision and processes.
        folder: the experiment's folder; only the main process writes.
        identity: `Args` and `Config` of the run, kept in every checkpoint.
        best_name: file name of the best checkpoint.
        mark: stands in every line that carries a number, such as " (demo)".
        quiet: evaluations are written down and not said.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, runner: Runner, learner: Learner, optimizer: Optimizer, scheduler: LambdaLR | None,
        *, seed: int, identity: dict[str, Any], best_name: str | None = None, mark: str = "", quiet: bool = False,
    ) -> None:  # fmt: skip
        self.accelerator, self.folder, self.runner, self.learner = accelerator, folder, runner, learner
        self.seed, self.identity, self.best_name, self.mark, self.quiet = seed, identity, best_name, mark, quiet
        self.parts: dict[str, nn.Module] = learner.module.parts  # type: ignore[assignment]
        self.progress = Progress()
        self.raw_optimizer, self.scheduler = optimizer, scheduler
        self.module, self.optimizer = accelerator.prepare(learner.module, optimizer)
        self.micro_batches = runner.gradient_accumulate_steps * accelerator.num_processes
        self.trained = [p for p in learner.module.parameters() if p.requires_grad]
        self.rate, self.norm, self._skipped_in_a_row = 0.0, 0.0, 0
        self.writer: Any = None

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self._restore_optimizer(state)
            if self.accelerator.scaler is not None and "Scaler" in state["Run"]:
                self.accelerator.scaler.load_state_dict(state["Run"]["Scaler"])
            self.progress = Progress.from_state({key: value for key, value in state["Run"].items() if key != "Scaler"})
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"the checkpoint of step {state['Step']} does not fit this run: {reason}") from None
        if not self.accelerator.is_main_process:
            self.progress.totals = {}
        self._reconsider_best()

    def _restore_optimizer(self, state: dict[str, Any]) -> None:
        """Moments and place in the schedule come from the checkpoint, rates and other options from the configuration of now."""
        options = [{name: value for name, value in group.items() if name != "params"} for group in self.raw_optimizer.param_groups]
        self.raw_optimizer.load_state_dict(state["Optimizer"])
        for group, own in zip(self.raw_optimizer.param_groups, options, strict=True):
            group.update(own)
        if self.scheduler is None:
            return
        peaks = self.scheduler.base_lrs
        self.scheduler.load_state_dict(state["Scheduler"])
        self.scheduler.base_lrs = peaks
        for group, peak, factor in zip(self.raw_optimizer.param_groups, peaks, self.scheduler.lr_lambdas, strict=True):
            group["lr"] = peak * factor(self.scheduler.last_epoch)

    def _reconsider_best(self) -> None:
        """A best checkpoint that this run has not reached, or that is not here, is no longer the best so far."""
        if self.best_name is None or self.progress.best is None:
            return
        path = self.folder / self.best_name
        if path.exists() and checkpoint.load(path)["Step"] <= self.progress.step:
            return
        self.progress.best = None
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            path.unlink(missing_ok=True)

    def run(self) -> None:
        """Train from where the progress stands to the last step."""
        runner, main = self.runner, self.accelerator.is_main_process
        self.begin()
        bar = tqdm(total=runner.total_steps, initial=self.progress.step, desc=f"train{self.mark}", unit="step", disable=not main)
        before = time.monotonic()
        for position, loaded in self.read():
            for place, (number, inputs) in enumerate(loaded):
                self.accumulate(number, self.learner.prepare(inputs), len(loaded), place == len(loaded) - 1)
            now = time.monotonic()
            self.update(position, now - before)
            before = now
            self._after(bar)
        bar.close()
        self.end()

    def begin(self) -> None:
        """Open the logs; the module is one that trains."""
        if self.accelerator.is_main_process:
            self._open_logs()
        self.module.train()

    def end(self) -> None:
        """Close the logs."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def read(self) -> Iterator[tuple[Position, list[tuple[int, Any]]]]:
        """For each step that is left: the position after it, and this process's micro-batches, read, with their global numbers."""
        left = islice(self._steps(), self.runner.total_steps - self.progress.step)
        return prefetch(self._read_step, left, self.runner.prefetch if self.learner.reads_ahead else 0)

    def _after(self, bar: Any) -> None:
        """Log, evaluate and save where the step asks for it."""
        bar.update()
        if self.is_due(self.runner.log_step):
            self.log_training(bar)
        if self.is_due(self.runner.eval_step):
            self.evaluate(self.learner.evaluate(self.progress.step))
        if self.is_due(self.runner.save_step):
            self.save(f"states-{self.progress.step}.ckpt")
            self.prune()

    def is_due(self, every: int) -> bool:
        """Whether what is done every so many steps, and at the last one, is to be done now."""
        return self.progress.step % every == 0 or self.progress.step == self.runner.total_steps

    def prune(self) -> None:
        """Remove states that are no longer kept."""
        if self.accelerator.is_main_process:
            experiment.prune(self.folder, self.runner.max_keep, self.progress.step)

    def _steps(self) -> Iterator[tuple[Position, list[tuple[int, Sequence[Cut]]]]]:
        """For each step: the position after it, and this process's micro-batches with their global numbers."""
        stream = self.learner.stream(self.progress.position)
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        while True:
            taken = [next(stream) for _ in range(self.micro_batches)]
            yield taken[-1][0], [(i, cuts) for i, (_, cuts) in enumerate(taken) if i % processes == rank]

    def _read_step(self, step: tuple[Position, list[tuple[int, Sequence[Cut]]]]) -> tuple[Position, list[tuple[int, Any]]]:
        position, own = step
        return position, [(number, self.learner.load(cuts)) for number, cuts in own]

    def accumulate(self, number: int, prepared: Any, count: int, last: bool) -> float:
        """Add the gradient of one of `count` micro-batches of a step. Returns its loss.

        Args:
            number: of the micro-batch in the step, over all processes.
            last: after it the processes' gradients are averaged.
        """
        seed_all(self.seed, self.progress.step, number)
        with nullcontext() if last else self.accelerator.no_sync(self.module):
            with self.accelerator.autocast():
                loss, measures = self.learner.compute(self.module, prepared)
            self.accelerator.backward(loss / count)
        value = loss.item()
        self.count({"loss": value, **measures})
        return value

    def count(self, measures: dict[str, float]) -> None:
        """Add a micro-batch's measures to those that are logged."""
        for name, value in measures.items():
            total, count = self.progress.totals.get(name, (0.0, 0))
            self.progress.totals[name] = [total + value, count + 1]

    def update(self, position: Position, seconds: float) -> None:
        """Clip the gradient and take the optimizer's step; one whose gradient is not finite is left out. See `advance`."""
        if self.accelerator.scaler is not None:
            self.accelerator.unscale_gradients(self.optimizer)
        norm = clip(self.trained, self.runner.gradient_clipping)
        if self.accelerator.scaler is not None:  # the scaler itself leaves such a step out, and must be told of it
            self.optimizer.step()
        elif math.isfinite(norm):
            self.raw_optimizer.step()
        self.raw_optimizer.zero_grad()
        self.advance(position, seconds, norm)

    def advance(self, position: Position, seconds: float, norm: float) -> None:
        """Note that a step was taken, or left out where the gradient was not finite.

        Args:
            position: in the stream, after this step.
            seconds: that the step took.
            norm: of the gradient before it was clipped.

        Raises:
            CheckpointError: too many were left out in a row.
        """
        progress, finite = self.progress, math.isfinite(norm)
        self.norm, self.rate = norm, self.raw_optimizer.param_groups[0]["lr"]
        if self.scheduler is not None:
            self.scheduler.step()
        progress.step, progress.position, progress.seconds = progress.step + 1, position, progress.seconds + seconds
        progress.skipped += not finite
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row > self.runner.patience:
            raise CheckpointError(
                f"{self.folder}: the gradient was not finite in {self._skipped_in_a_row} updates in a row (step {progress.step}); "
                "lower config.optimizer.lr or config.runner.gradient_clipping, or use --precision fp32"
            )

    def _gather_totals(self) -> dict[str, list[float]]:
        """The totals over all processes; afterwards the main process holds them alone."""
        if self.accelerator.num_processes > 1:
            merged: dict[str, list[float]] = {}
            for totals in gather_object([self.progress.totals]):
                for name, (total, count) in totals.items():
                    before = merged.get(name, [0.0, 0])
                    merged[name] = [before[0] + total, before[1] + count]
            self.progress.totals = merged if self.accelerator.is_main_process else {}
            return merged
        return self.progress.totals

    def log_training(self, bar: Any = None) -> None:
        """Write down what was trained since the last time, and show it beside a progress bar."""
        means = {name: total / count for name, (total, count) in self._gather_totals().items()}
        self.progress.totals = {}
        if bar is not None:
            bar.set_postfix(loss=f"{means['loss']:.3f}", lr=f"{self.rate:.1e}")
        extra = {"lr": self.rate, "grad_norm": self.norm, "epoch": self.progress.position.epoch}
        self._write_line("train", {**means, **extra, **({"skipped": self.progress.skipped} if self.progress.skipped else {})})

    def evaluate(self, results: Sequence[Evaluated]) -> None:
        """Write down how the splits were evaluated, and keep a checkpoint that is the best one so far."""
        self.module.train()
        better = False
        for result in results:
            self._write_line(result.split, result.measures)
            if result.value is not None and is_better(result.value, self.progress.best):
                self.progress.best, better = result.value, True
            if self.accelerator.is_main_process and not self.quiet:
                figures = "  ".join(f"{name} {value:.4g}" for name, value in result.measures.items())
                best = "  best so far" if better and result.value is not None else ""
                log.info("step %d  %s%s  %s%s", self.progress.step, result.split, self.mark, figures, best)
        if better and self.best_name:
            self.save(self.best_name)

    def save(self, name: str) -> None:
        """Write a checkpoint."""
        totals = self._gather_totals()
        if not self.accelerator.is_main_process:
            return
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, peak_memory_bytes())
        run = {**self.progress.state(), "totals": totals}
        if self.accelerator.scaler is not None:
            run["Scaler"] = self.accelerator.scaler.state_dict()
        state: dict[str, Any] = {part: module.state_dict() for part, module in self.parts.items()}
        state |= {"Step": self.progress.step, "Epoch": self.progress.position.epoch, "Run": run, **self.identity}
        state["Optimizer"] = self.raw_optimizer.state_dict()
        if self.scheduler is not None:
            state["Scheduler"] = self.scheduler.state_dict()
        checkpoint.save(self.folder / name, state)

    def _open_logs(self) -> None:
        """Open TensorBoard, and drop logged lines that lie beyond the checkpoint that the run goes on from."""
        from torch.utils.tensorboard import SummaryWriter

        path = self.folder / "metrics.jsonl"
        kept = [line for line in _lines(path) if line["step"] <= self.progress.step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.writer = SummaryWriter(str(self.folder), purge_step=self.progress.step + 1)

    def _write_line(self, split: str, values: dict[str, float]) -> None:
        if not self.accelerator.is_main_process:
            return
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}  # JSON knows no NaN
        with open(self.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": self.progress.step, "split": split, **plain}) + "\n")
        for name, value in values.items():
            self.writer.add_scalar(f"{split}/{name}", value, self.progress.step)


def is_better(value: float, best: float | None) -> bool:
    """Whether a value is above the best so far; anything is better than none, and a number than what is not one."""
    return best is None or value > best or (math.isnan(best) and not math.isnan(value))


def clip(parameters: Sequence[nn.Parameter], largest: float) -> float:
    """Bring the gradients' total L2 norm down to `largest`. Returns the norm before; gradients are touched only where it is larger."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    value = float(norm)
    if value > largest:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a line that a kill cut short is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
