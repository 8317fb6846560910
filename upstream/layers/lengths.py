"""Which frames of a padded batch are real."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Mask (B, F), True on the first `lengths` (B,) frames of each row."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def own_lengths(lengths: Tensor, longest: int, alone: bool) -> list[int] | None:
    """Each row's length where rows are padded to `longest` and padding shall not count (`alone`); else None."""
    return lengths.tolist() if alone and bool((lengths < longest).any()) else None
