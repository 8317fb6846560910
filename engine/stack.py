"""Heads that need no more than a mean, computed in one call: the parameters of all of them lie in common tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.evaluation import Prepared
from engine.learners import HeadLearner
from engine.probe import Probe
from engine.trainer import Trainer
from upstream.base import Representation


class Stack:
    """The probes of several trainers, of one shape and on the same micro-batches, as slices of stacked parameters.

    The trainers keep their parameters, optimizers' states and learning rates, of which this holds views: their checkpoints are what
    they would be without it.

    Shape letters: H heads, L hidden states, B batch, D features.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers, self.largest = trainers, trainers[0].runner.gradient_clipping
        learner = trainers[0].learner
        assert isinstance(learner, HeadLearner)
        self.task, self.shape = learner.evaluator.task, learner.module
        self.own = [dict(trainer.learner.module.named_parameters()) for trainer in trainers]
        self.stacked = {name: torch.stack([own[name].detach() for own in self.own]).requires_grad_() for name in self.own[0]}
        for name, stacked in self.stacked.items():
            for own, piece in zip(self.own, stacked.detach(), strict=True):
                own[name].data = piece
        self.of_head = {name.removeprefix("head."): stacked for name, stacked in self.stacked.items() if name.startswith("head.")}
        self.optimizer = joined([trainer.raw_optimizer for trainer in trainers])

    @staticmethod
    def serves(trainers: Sequence[Trainer]) -> bool:
        """Whether the heads can be stacked: several, in fp32, that need no more than the mean over frames and say how."""
        probes = [trainer.learner.module for trainer in trainers]
        pooled = all(isinstance(probe, Probe) and probe.pools and "stacked" in vars(type(probe.head)) for probe in probes)
        return len(probes) > 1 and pooled and trainers[0].accelerator.mixed_precision == "no"

    def accumulate(self, prepared: Prepared, count: int) -> list[float]:
        """Add the gradients of one of `count` micro-batches of a step. Returns each head's loss."""
        heads = len(self.trainers)
        heard = self.shape.heard(Representation(prepared.inputs, prepared.lengths), prepared.samples)
        features = self._mixed(heard.hidden_states[:, :, 0].transpose(0, 1))
        output = self.shape.head.stacked(self.of_head, features)  # type: ignore[operator]
        # The loss of all utterances of all heads is the mean of the heads' losses: each head's gradient is that of its own loss.
        (self.task.loss(output.flatten(0, 1), prepared.labels * heads) * (heads / count)).backward()
        with torch.no_grad():
            values = torch.stack([self.task.loss(logits, prepared.labels) for logits in output]).tolist()
        for trainer, value in zip(self.trainers, values, strict=True):
            trainer.count({"loss": value})
        return values

    def _mixed(self, states: Tensor) -> Tensor:
        """Each head's features (H, B, D) of the states (B, L, D): its weighted sum of them, or one of them."""
        weights = self.stacked.get("featurizer.weights")
        if weights is None:
            return states[:, self.shape.featurizer.layer].expand(len(self.trainers), -1, -1)
        shares = torch.softmax(weights, dim=1).expand(len(states), -1, -1)
        return torch.bmm(shares, states).transpose(0, 1)

    @torch.no_grad()
    def update(self) -> list[float]:
        """Clip each head's gradient by its own norm and take the optimizers' steps, those of finite gradients.

        Returns: the norms before.
        """
        gradients = {name: stacked.grad for name, stacked in self.stacked.items() if stacked.grad is not None}
        norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients.values()])
        norm = torch.linalg.vector_norm(norms, dim=0)
        values = norm.tolist()
        if any(value > self.largest for value in values):
            factors = (self.largest / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grads_with_norm_
            for gradient in gradients.values():
                gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
        for name, gradient in gradients.items():
            self.stacked[name].grad = None
            for own, piece, value in zip(self.own, gradient, values, strict=True):
                own[name].grad = piece if math.isfinite(value) else None
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values


def joined(optimizers: Sequence[torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """One optimizer that takes the steps of several of the same kind, with their groups and their states."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    whole = type(optimizers[0])(groups, lr=0.0)  # type: ignore[call-arg]
    whole.param_groups, whole.state = groups, defaultdict(dict)
    for optimizer in optimizers:
        optimizer.step()  # of nothing: so that its schedule sees it as one that steps
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            whole.state[parameter] = optimizer.state[parameter]
    return whole
