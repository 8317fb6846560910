"""From all hidden states of an encoder to the one feature sequence that a head reads."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.base import Representation
from upstream.errors import UpstreamError


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

        Returns: features (B, F, D), zero past each length, and lengths (B,).

        Raises:
            UpstreamError: the representation has other states or features than the featurizer was built for.
        """
        states = representation.hidden_states
        if len(states) != self.num_states or states.shape[-1] != self.dim:
            raise UpstreamError(
                f"featurizer: built for {self.num_states} states of {self.dim} features, given {len(states)} of {states.shape[-1]}"
            )
        if self.layer is not None:
            return self._normalized(states[self.layer]), representation.lengths
        weights = torch.softmax(self.weights, dim=0).to(states.dtype)
        mixed = torch.tensordot(weights, self._normalized(states), dims=1)
        return mixed, representation.lengths

    def layer_weights(self) -> list[float] | None:
        """The share of each hidden state in the sum; None where one state is taken alone."""
        return None if self.layer is not None else torch.softmax(self.weights.detach().float(), dim=0).tolist()

    def _normalized(self, states: Tensor) -> Tensor:
        return F.layer_norm(states, states.shape[-1:]) if self.normalize else states


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
