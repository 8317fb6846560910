"""SpecAugment on the features that a head sees: time warp, then frequency masks, then time masks.

Source: Park et al., 2019 (arXiv 1904.08779), in the form that SUPERB uses. Draws come from torch's global generator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.config import SpecAug


class SpecAugment(nn.Module):
    """Augments features (B, F, D) while training; frames past `lengths` stay zero.

    Args:
        config: what to apply.
        dim: features a frame, D.
        mask_padded: place time masks over the padded length as the benchmark does (short utterances then receive fewer);
            else over each utterance's own.
    """

    def __init__(self, config: SpecAug, dim: int, mask_padded: bool) -> None:
        super().__init__()
        self.config, self.mask_padded = config, mask_padded
        scale = dim / config.freq_mask_scale_dim if config.freq_mask_scale_dim else 1.0
        low, high = config.freq_mask_width_range
        self.freq_widths = (round(low * scale), max(round(low * scale) + 1, round(high * scale)))

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        if not self.training:
            return features
        config, (batch, frames, dim) = self.config, features.shape
        valid = torch.arange(frames, device=features.device) < lengths[:, None]
        if config.apply_time_warp:
            features = self._warp(features, lengths)
        keep = valid[..., None]
        if config.apply_freq_mask:
            extents = torch.full((batch,), dim, device=features.device)
            keep = keep & ~_bands(extents, dim, self.freq_widths, config.num_freq_mask)[:, None, :]
        if config.apply_time_mask:
            extents = torch.full_like(lengths, frames) if self.mask_padded else lengths
            keep = keep & ~_bands(extents, frames, config.time_mask_width_range, config.num_time_mask)[..., None]
        return features.masked_fill(~keep, 0.0)

    def _warp(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Each utterance's part left of a random frame stretched or squeezed by up to `time_warp_window` frames, the rest fitted.

        Utterances of at most two windows stay as they are.
        """
        window = self.config.time_warp_window
        room = lengths - 2 * window
        draws = torch.rand(2, len(lengths), device=features.device)
        centre = window + (draws[0] * room).long()
        target = centre - window + (draws[1] * 2 * window).long() + 1
        still = room <= 0
        return _rescaled(features, lengths, centre.masked_fill(still, 0), target.masked_fill(still, 0))


def _rescaled(features: Tensor, lengths: Tensor, centre: Tensor, target: Tensor) -> Tensor:
    """Features (B, F, D) whose first `centre` (B,) frames fill `target` (B,) ones, and the rest of `lengths` (B,) the rest.

    Cubic interpolation over time, each part by itself, with the values of torch's bicubic resizing.
    """
    batch, frames, dim = features.shape
    lengths, centre, target = (each.to(features.device)[:, None] for each in (lengths, centre, target))
    index = torch.arange(frames, device=features.device)
    left = index < target
    first, last = torch.where(left, 0, centre), torch.where(left, centre, lengths) - 1
    size = torch.where(left, target, lengths - target).clamp(min=1)
    place = (index - torch.where(left, 0, target) + 0.5) * (last - first + 1) / size - 0.5
    below = place.floor()
    offset, below = place - below, below.long() + first
    rows = features.reshape(batch * frames, dim)
    start = frames * torch.arange(batch, device=features.device)[:, None]
    warped = torch.zeros_like(rows)
    for tap in range(-1, 3):
        source = torch.minimum(torch.maximum(below + tap, first), last).clamp(min=0)
        weight = _cubic((offset - tap).abs())
        warped = warped + weight.reshape(-1, 1) * rows.index_select(0, (source + start).reshape(-1))
    return warped.view(batch, frames, dim)


def _cubic(distance: Tensor, sharpness: float = -0.75) -> Tensor:
    """The cubic convolution kernel (Keys, 1981) at distances of 0 to 2 frames."""
    near = ((sharpness + 2) * distance - (sharpness + 3)) * distance * distance + 1
    far = ((sharpness * distance - 5 * sharpness) * distance + 8 * sharpness) * distance - 4 * sharpness
    return torch.where(distance <= 1, near, far.masked_fill(distance >= 2, 0.0))


def _bands(extents: Tensor, size: int, widths: tuple[int, int], count: int) -> Tensor:
    """(B, size) true inside `count` random bands a row, each of a width in [low, high) within the row's extent."""
    batch, device = len(extents), extents.device
    if not count:
        return torch.zeros(batch, size, dtype=torch.bool, device=device)
    width = torch.randint(*widths, (batch, count), device=device)
    room = (extents[:, None] - width.max()).clamp(min=1)
    start = (torch.rand(batch, count, device=device) * room).long()
    index = torch.arange(size, device=device)
    return ((index >= start[..., None]) & (index < (start + width)[..., None])).any(1)
