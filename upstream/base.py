"""What every encoder is to the rest of Weir: waveforms in, all hidden states out.

Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from upstream.errors import UpstreamError

Padding = Literal["alone", "reference"]  # every utterance as if by itself, or the published batch-dependent behaviour
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Representation:
    """All hidden states of a batch.

    Attributes:
        hidden_states: (L, B, F, D) float; frames past an utterance's length are zero.
        lengths: (B,) int64, valid frames.
    """

    hidden_states: Tensor
    lengths: Tensor

    def mean(self, lengths: Tensor) -> Representation:
        """Each utterance's mean over its first `lengths` (B,) frames, float32 whatever the precision, as a representation of one frame."""
        valid = torch.arange(self.hidden_states.shape[2], device=lengths.device) < lengths[:, None]
        with torch.autocast(self.hidden_states.device.type, enabled=False):
            means = torch.matmul((valid / lengths[:, None])[:, None], self.hidden_states.float())
        return Representation(means, torch.ones_like(lengths))


def padded(utterances: Sequence[Tensor]) -> Representation:
    """Utterances' states (L, F, D) as one batch."""
    first, lengths = utterances[0], [states.shape[1] for states in utterances]
    batch = first.new_empty(len(first), len(utterances), max(lengths), first.shape[2])
    for row, (states, frames) in enumerate(zip(utterances, lengths, strict=True)):
        batch[:, row, :frames] = states
        batch[:, row, frames:] = 0
    return Representation(batch, torch.tensor(lengths, device=first.device))


class Frozen(Protocol):
    """A faster forward of an encoder whose weights stay as they are: each utterance as if by itself, no gradients.

    Its states are of the precision asked for, within 1e-5 of the plain forward in fp32.

    Attributes:
        dtype: of the states.
    """

    dtype: torch.dtype

    @property
    def form(self) -> str:
        """What decides the last bits of the states beside weights and precision."""

    def __call__(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) with `lengths` (B,) valid samples each; see `Upstream.forward`."""

    def packed(self, wavs: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Encode waveforms (T,) each to states (L, F, D) without padding, one utterance after the other, and the frames of each."""

    def error(self, wav: Tensor) -> float:
        """The largest relative error of a hidden state of a waveform (T,) against the plain forward in fp32."""


class Upstream(nn.Module, ABC):
    """An encoder of 16 kHz waveforms.

    A valid frame depends on its own utterance alone: padding, neighbours and batch size never change it beyond float error.

    Attributes:
        name: registered name.
        family: whose checkpoints it reads.
        takes_checkpoint: whether there are weights to load.
        code_version: raised when the same weights give other states; part of the fingerprint.
        sample_rate: Hz.
        stride: samples a frame.
        dim: features a frame, D.
        num_states: hidden states, L; constant.
        minimum_samples: the shortest utterance that the encoder accepts.
        padding: how the batch acts on an utterance.
        notes: what a user should know of these weights, to be said at the start, such as where the input is normalised.
    """

    name: str
    family: str
    takes_checkpoint: ClassVar[bool] = True
    code_version: ClassVar[int] = 1
    sample_rate: ClassVar[int] = 16_000
    stride: int
    dim: int
    num_states: int
    minimum_samples: int
    padding: Padding = "alone"
    notes: tuple[str, ...] = ()

    @classmethod
    def from_checkpoint(cls, path: Path | None, padding: Padding = "alone") -> Upstream:
        """Build the encoder from a checkpoint file or folder; one that takes none, as its class builds itself.

        Raises:
            UpstreamError: the checkpoint is not one of this family, or does not fit.
        """
        if cls.takes_checkpoint:
            raise UpstreamError(
                f"{cls.__name__} takes a checkpoint and does not say in from_checkpoint how it is read (docs/own_encoder.md)"
            )
        return cls()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], padding: Padding = "alone") -> Upstream:
        """Build the encoder with random weights from the `config` of its card.

        Raises:
            UpstreamError: the configuration is wrong, or this encoder only exists with its checkpoint.
        """
        if cls.takes_checkpoint:
            raise UpstreamError(f"{getattr(cls, 'name', cls.__name__)}: exists only with its checkpoint (-k), not with random weights")
        return cls.from_checkpoint(None, padding)

    @classmethod
    def from_member(cls, member: str, path: Path | None, padding: Padding = "alone") -> Upstream:
        """Build what `NAME:MEMBER` stands for, where an encoder has members; see `from_checkpoint`.

        Raises:
            UpstreamError: there is no such member here, or its checkpoint cannot be used.
        """
        raise UpstreamError(f"{cls.__name__}: has no members, and was asked for '{member}'")

    @abstractmethod
    def forward(self, wavs: Tensor, lengths: Tensor) -> Representation:
        """Encode waveforms (B, T) float32 with `lengths` (B,) valid samples each.

        Raises:
            UpstreamError: an utterance is shorter than `minimum_samples`.
        """

    def frozen(self, precision: Precision = "fp32") -> Frozen | None:
        """A faster forward with the weights as they are when it is first used, or None where there is only the plain one."""
        return None

    def configuration(self) -> dict[str, Any]:
        """Plain values that, with the weights, decide the states; part of the fingerprint."""
        return {}

    def differences(self, config: Mapping[str, Any]) -> list[str]:
        """What of these weights' architecture is not as the `config` of a card says, in words."""
        return []

    def check_lengths(self, lengths: Tensor) -> None:
        """Refuse utterances that are too short to encode."""
        shortest = int(lengths.min())
        if shortest < self.minimum_samples:
            raise UpstreamError(f"{self.name}: an utterance has {shortest} samples; it needs at least {self.minimum_samples}")


def normalization_note(eps: float | None, source: str = "") -> str:
    """The sentence that says whether waveforms are brought to zero mean and unit variance first.

    Args:
        eps: added to the variance; None where the input is left as it is.
        source: what decided it: a file, say.
    """
    state = "off" if eps is None else f"on, eps {eps:g}"
    return f"input normalisation: {state}" + (f" ({source})" if source else "")
