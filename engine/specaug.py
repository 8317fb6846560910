"""SpecAugment on the features that a head sees: time warp, then frequency masks, then time masks.

Source: Park et al., 2019 (arXiv 1904.08779), in the form that SUPERB uses. Draws come from torch's global generator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
        """Each utterance's part left of a random frame stretched or squeezed by up to `time_warp_window` frames, the rest fitted."""
        window, frames = self.config.time_warp_window, features.shape[1]
        rows = []
        for row, length in zip(features, lengths.tolist(), strict=True):
            if length <= 2 * window:
                rows.append(row)
                continue
            centre = int(torch.randint(window, length - window, ()))
            target = int(torch.randint(centre - window, centre + window, ())) + 1
            parts = (_resized(row[:centre], target), _resized(row[centre:length], length - target))
            rows.append(F.pad(torch.cat(parts), (0, 0, 0, frames - length)))
        return torch.stack(rows)


def _resized(frames: Tensor, length: int) -> Tensor:
    """(F, D) -> (length, D), bicubic over time."""
    return F.interpolate(frames[None, None], size=(length, frames.shape[1]), mode="bicubic", align_corners=False)[0, 0]


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
