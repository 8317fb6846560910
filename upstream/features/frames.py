"""Operations on padded batches of feature frames that treat each utterance by its own length.

Shape letters: B batch, F frames, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.functional import compute_deltas

from upstream.layers.lengths import valid_frames

EPS = 1e-10  # added to powers before the logarithm and to deviations: s3prl upstream/baseline/preprocessor.py and extracter.py


def zero_padding(features: Tensor, lengths: Tensor) -> Tensor:
    """Set the frames of features (B, F, D) past `lengths` (B,) to exactly zero, whatever they hold."""
    return features.masked_fill(~valid_frames(lengths, features.shape[1])[:, :, None], 0.0)


def normalize(features: Tensor, lengths: Tensor) -> Tensor:
    """Mean and variance normalisation (CMVN) of each utterance and feature over its own valid frames.

    The deviation is the unbiased one. Sums run in float64: a silent utterance, whose features are constant, then gives zeros
    instead of amplified rounding, and the batch around an utterance cannot show in the last digits.

    Args:
        features: (B, F, D).
        lengths: (B,) valid frames, at least 2 each.

    Returns: (B, F, D), same dtype; frames past the lengths are zero.
    """
    valid = valid_frames(lengths, features.shape[1])[:, :, None]
    exact = features.double().masked_fill(~valid, 0.0)
    count = lengths.to(exact.dtype)[:, None, None]
    centred = (exact - exact.sum(1, keepdim=True) / count).masked_fill(~valid, 0.0)
    deviation = (centred.square().sum(1, keepdim=True) / (count - 1)).sqrt()
    return (centred / (deviation + EPS)).to(features.dtype)


def append_deltas(features: Tensor, lengths: Tensor, order: int, window: int = 5) -> Tensor:
    """Append `order` successive regression coefficients along the feature axis.

    Args:
        features: (B, F, D).
        lengths: (B,) frames; each utterance's last one is repeated past its end, as if it were alone.
        order: how many times the derivative is taken; 0 returns the features.
        window: frames that one coefficient sees, odd.

    Returns: (B, F, D * (order + 1)).
    """
    parts = [features]
    for _ in range(order):
        source = repeat_last(parts[-1], lengths)
        parts.append(compute_deltas(source.transpose(1, 2), win_length=window).transpose(1, 2))
    return torch.cat(parts, dim=2)


def repeat_last(features: Tensor, lengths: Tensor) -> Tensor:
    """Overwrite the padding of features (B, F, D) with each utterance's last valid frame."""
    positions = torch.arange(features.shape[1], device=features.device)
    index = torch.minimum(positions[None, :], lengths[:, None] - 1)
    return features.gather(1, index[:, :, None].expand_as(features))
