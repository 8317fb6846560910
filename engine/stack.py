"""Heads that need no more than a mean, computed in one call: the parameters of all of them lie in common tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.evaluation import Prepared
from engine.learners import HeadLearner
from engine.probe import Probe
from engine.trainer import Trainer
from upstream.base import Representation


class Stack:
    """The probes of several trainers, of one shape, as slices of stacked parameters.

    The trainers keep their parameters, optimizers' states and learning rates, of which this holds views: their checkpoints are what
    they would be without it.

    Shape letters: H heads, L hidden states, B batch, D features, C classes.

    Args:
        groups: trainers whose heads get the same micro-batches.
    """

    def __init__(self, groups: Sequence[Sequence[Trainer]]) -> None:
        self.trainers = [trainer for group in groups for trainer in group]
        self.counts = [len(group) for group in groups]
        self.largest = self.trainers[0].runner.gradient_clipping
        learner = self.trainers[0].learner
        assert isinstance(learner, HeadLearner)
        self.task, self.shape = learner.evaluator.task, learner.module
        self.own = [dict(trainer.learner.module.named_parameters()) for trainer in self.trainers]
        self.stacked = {name: torch.stack([own[name].detach() for own in self.own]).requires_grad_() for name in self.own[0]}
        for name, stacked in self.stacked.items():
            for own, piece in zip(self.own, stacked.detach(), strict=True):
                own[name].data = piece
        self.of_head = {name.removeprefix("head."): stacked for name, stacked in self.stacked.items() if name.startswith("head.")}
        self.optimizer = Joined([trainer.raw_optimizer for trainer in self.trainers])

    @staticmethod
    def serves(trainers: Sequence[Trainer]) -> bool:
        """Whether the heads can be stacked: several, in fp32, that need no more than the mean over frames and say how."""
        probes = [trainer.learner.module for trainer in trainers]
        pooled = all(isinstance(probe, Probe) and probe.pools and "stacked" in vars(type(probe.head)) for probe in probes)
        return len(probes) > 1 and pooled and trainers[0].accelerator.mixed_precision == "no"

    def accumulate(self, batches: Sequence[Prepared], count: int) -> list[float]:
        """Add the gradients of one of `count` micro-batches of a step, one a group. Returns each head's loss."""
        features = [self._mixed(prepared, group) for group, prepared in enumerate(batches)]
        loss, values = torch.zeros(()), []
        for output, prepared, heads in zip(self._outputs(features), batches, self.counts, strict=True):
            # The loss of the utterances of all heads is the mean of the heads' losses: each head's gradient is that of its own.
            loss = loss + self.task.loss(output.flatten(0, 1), prepared.labels * heads) * (heads / count)
            with torch.no_grad():
                values += [self.task.loss(logits, prepared.labels) for logits in output]
        loss.backward()
        found = torch.stack(values).tolist()
        for trainer, value in zip(self.trainers, found, strict=True):
            trainer.count({"loss": value})
        return found

    def _mixed(self, prepared: Prepared, group: int) -> Tensor:
        """The features (H, B, D) of each head of a group: its weighted sum of the hidden states, or one of them."""
        heard = self.shape.heard(Representation(prepared.inputs, prepared.lengths), prepared.samples)
        states = heard.hidden_states[:, :, 0].transpose(0, 1)  # (B, L, D)
        weights = self.stacked.get("featurizer.weights")
        if weights is None:
            return states[:, self.shape.featurizer.layer].expand(self.counts[group], -1, -1)
        shares = torch.softmax(weights.split(self.counts)[group], dim=1).expand(len(states), -1, -1)
        return torch.bmm(shares, states).transpose(0, 1)

    def _outputs(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The logits (H, B, C) of each group: in one call where all batches are of one size."""
        stacked = self.shape.head.stacked
        if len({each.shape[1] for each in features}) == 1:
            return list(stacked(self.of_head, torch.cat(list(features))).split(self.counts))  # type: ignore[operator]
        pieces = [{name: whole.split(self.counts)[group] for name, whole in self.of_head.items()} for group in range(len(features))]
        return [stacked(own, each) for own, each in zip(pieces, features, strict=True)]  # type: ignore[operator]

    @torch.no_grad()
    def update(self) -> list[float]:
        """Clip each head's gradient by its own norm and take the optimizers' steps, those of finite gradients.

        Returns: the norms before.
        """
        gradients = {name: stacked.grad for name, stacked in self.stacked.items() if stacked.grad is not None}
        norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients.values()])
        values = torch.linalg.vector_norm(norms, dim=0).tolist()
        for head, value in enumerate(values):
            if value > self.largest:
                for gradient in gradients.values():
                    gradient[head].mul_(self.largest / (value + 1e-6))  # as torch.nn.utils.clip_grads_with_norm_
        for name, gradient in gradients.items():
            self.stacked[name].grad = None
            for own, piece, value in zip(self.own, gradient, values, strict=True):
                own[name].grad = piece if math.isfinite(value) else None
        self.optimizer.step()
        return values


class Joined:
    """Takes the steps of several optimizers of the same kind in few calls: parameters of equal options share a group.

    Each optimizer's state stays its own, and its options, such as a learning rate that a schedule changes, are read at every step.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for optimizer in optimizers:
            optimizer.step()  # of nothing: so that its schedule sees it as one that steps
            for group in optimizer.param_groups:
                options = tuple((name, value) for name, value in group.items() if name != "params")
                self.groups.setdefault(options, []).append(group)
        parameters = [[each for group in alike for each in group["params"]] for alike in self.groups.values()]
        self.whole = type(optimizers[0])([{"params": params} for params in parameters], lr=0.0)  # type: ignore[call-arg]
        self.whole.state = defaultdict(dict)
        for optimizer in optimizers:
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                self.whole.state[parameter] = optimizer.state[parameter]

    def step(self) -> None:
        """Take a step and forget the gradients."""
        for joint, alike in zip(self.whole.param_groups, self.groups.values(), strict=True):
            joint.update({name: value for name, value in alike[0].items() if name != "params"})
        self.whole.step()
        self.whole.zero_grad()
