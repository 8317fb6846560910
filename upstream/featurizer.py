"""From all hidden states of an encoder to the one feature sequence that a head reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.base import Representation
from upstream.errors import UpstreamError

ROWS = 64  # frames that a CPU mixes together: all their states, in float32, stay in the cache


class Featurizer(nn.Module):
    """Softmax-weighted sum of the hidden states, or one of them.

    The weights start at zero, so that training begins from the plain mean. Source: SUPERB (Yang et al., 2021), framework;
    s3prl upstream/interfaces.py, Featurizer.

    Args:
        num_states: L of the encoder.
        dim: D of the encoder.
        layer: take this state alone (0 is the first, -1 the last) instead of the sum.
        normalize: layer norm without weights over the features of each state first.
    """

    def __init__(self, num_states: int, dim: int, layer: int | None = None, normalize: bool = False) -> None:
        super().__init__()
        if layer is not None:
            check_layer(layer, num_states)
        self.num_states, self.dim, self.layer, self.normalize = num_states, dim, layer, normalize
        if layer is None:
            self.weights = nn.Parameter(torch.zeros(num_states))

    def forward(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Mix the states.

        Returns: features (B, F, D), of which what lies past each length means nothing, and lengths (B,).

        Raises:
            UpstreamError: the representation has other states or features than the featurizer was built for.
        """
        states = representation.hidden_states
        if len(states) != self.num_states or states.shape[-1] != self.dim:
            raise UpstreamError(
                f"featurizer: built for {self.num_states} states of {self.dim} features, given {len(states)} of {states.shape[-1]}"
            )
        if self.layer is not None:
            return _normalized(states[self.layer], self.normalize), representation.lengths
        weights = torch.softmax(self.weights, dim=0)
        if states.requires_grad:
            mixed = torch.tensordot(weights.to(states.dtype), _normalized(states, self.normalize), dims=1)
        else:
            with torch.autocast(states.device.type, enabled=False):
                mixed = _Mix.apply(weights, states, representation.lengths.tolist(), self.normalize)
        return mixed, representation.lengths

    def layer_weights(self) -> list[float] | None:
        """The share of each hidden state in the sum; None where one state is taken alone."""
        return None if self.layer is not None else torch.softmax(self.weights.detach().float(), dim=0).tolist()


class _Mix(torch.autograd.Function):
    """Weighted sum (B, F, D) of states (L, B, F, D) that need no gradient, in the precision of the weights (L,), whatever theirs.

    Of the gradient there is only what the weights need, and on a CPU no copy of all states in that precision is made.
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, states: Tensor, lengths: list[int], normalize: bool) -> Tensor:
        ctx.save_for_backward(states)
        ctx.lengths, ctx.normalize = lengths, normalize
        mixed = torch.zeros(states.shape[1:], dtype=weights.dtype, device=states.device)
        for block, place in _blocks(states, lengths, normalize, weights.dtype):
            if block.stride(0) < block.stride(1):  # utterances first, as pooled ones are stored
                torch.matmul(weights, block.transpose(0, 1), out=mixed[place])
            else:
                torch.mv(block.flatten(1).T, weights, out=mixed[place].view(-1))
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (states,), (gradient,) = ctx.saved_tensors, gradients
        products = torch.zeros(len(states), dtype=gradient.dtype, device=gradient.device)
        for block, place in _blocks(states, ctx.lengths, ctx.normalize, gradient.dtype):
            products.addmv_(block.flatten(1), gradient[place].flatten())
        return products, None, None, None


def _blocks(states: Tensor, lengths: list[int], normalize: bool, dtype: torch.dtype) -> Iterator[tuple[Tensor, Any]]:
    """States (L, B, F, D) in blocks (L, R, D) of R valid frames in `dtype`, each with its place in (B, F)."""
    if states.shape[2] == 1:
        yield _normalized(states[:, :, 0].to(dtype), normalize), (slice(None), 0)
        return
    if states.device.type != "cpu":
        yield _normalized(states.flatten(1, 2).to(dtype), normalize), ...
        return
    room = torch.empty(0 if states.dtype == dtype else len(states) * ROWS * states.shape[3], dtype=dtype)
    for row, frames in enumerate(lengths):
        for start in range(0, frames, ROWS):
            place = row, slice(start, min(start + ROWS, frames))
            block = states[:, place[0], place[1]]
            if states.dtype != dtype:
                block = room[: block.numel()].view(block.shape).copy_(block)
            yield _normalized(block, normalize), place


def _normalized(states: Tensor, normalize: bool) -> Tensor:
    """States (..., D) in float32 at least, each frame brought to zero mean and unit variance where `normalize` says so."""
    states = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
    return F.layer_norm(states, states.shape[-1:]) if normalize else states


def check_layer(layer: int, num_states: int) -> None:
    """Raises UpstreamError for a hidden state that an encoder of so many states does not have; negative ones count from the last."""
    if not -num_states <= layer < num_states:
        raise UpstreamError(f"featurizer: layer {layer} does not exist; the encoder has the states 0 to {num_states - 1}")


def nominal_lengths(samples: Tensor, stride: int, frames: Tensor) -> Tensor:
    """The benchmark's frame counts: samples over stride, rounded half to even, never more than the encoder made.

    An encoder whose first frame is centred at sample 0 makes one frame more than this; SUPERB's heads never saw it.

    Args:
        samples: (B,) samples.
        stride: samples a frame.
        frames: (B,) frames that the encoder made.

    Returns: (B,) int64.

    Source: s3prl upstream/interfaces.py, Featurizer.tolist.
    """
    nominal = torch.round(samples.double() / stride).to(torch.int64)
    return torch.minimum(nominal.to(frames.device), frames)
