"""The x-vector head of speaker verification (Snyder et al., 2018) with AM-softmax (Wang et al., 2018).

Source of the sizes: SUPERB's ASV head; s3prl ``downstream/sv_voxceleb1/model.py``. Shape letters: B batch, F frames, D features,
E embedding, S speakers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_VARIANCE = 1e-12
"""Of a channel over time: below it the standard deviation has no gradient (a channel that is 0 in every frame)."""


class Speaker(NamedTuple):
    """What the head says of each utterance.

    Attributes:
        embedding: (B, E), whose cosines score trials.
        cosines: (B, S) with the training speakers, behind layers that no trial sees.
    """

    embedding: Tensor
    cosines: Tensor


class XVector(nn.Module):
    """Time-delay layers, statistics pooling and two linear layers; a direction for each training speaker.

    Args:
        dim: features a frame.
        speakers: those of the training data.
        projection: size of the linear layer before the time-delay layers.
        channels, contexts, dilations: output size, frames seen and their distance, of each time-delay layer.
        embedding: E.
        one_frame_too_many: while training, an utterance that is padded is pooled over one frame more than it has, as in s3prl.
    """

    def __init__(
        self, dim: int, speakers: int, *, projection: int, channels: Sequence[int], contexts: Sequence[int], dilations: Sequence[int],
        embedding: int, one_frame_too_many: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.projection = nn.Linear(dim, projection)
        sizes = zip([projection, *channels[:-1]], channels, contexts, dilations, strict=True)
        self.layers = nn.ModuleList(nn.Conv1d(before, after, context, dilation=by) for before, after, context, by in sizes)
        self.lost = sum((context - 1) * by for context, by in zip(contexts, dilations, strict=True))
        self.embedding = nn.Linear(2 * channels[-1], embedding)
        self.hidden = nn.Linear(embedding, embedding)
        self.speakers = nn.Parameter(nn.init.xavier_normal_(torch.empty(embedding, speakers)))
        self.one_frame_too_many = one_frame_too_many

    def forward(self, features: Tensor, lengths: Tensor) -> Speaker:
        """Features (B, F, D) with `lengths` (B,).

        An utterance that leaves fewer than two frames to pool is repeated until it leaves two.
        """
        least = self.lost + 2
        if int(lengths.min()) < least:
            features, lengths = repeated(features, lengths, least)
        pooled = lengths - self.lost
        if self.training and self.one_frame_too_many:
            beyond = torch.arange(features.shape[1], device=features.device)[None] >= lengths[:, None]
            features = features.masked_fill(beyond[..., None], 0.0)
            pooled = (pooled + 1).clamp(max=features.shape[1] - self.lost)
        x = self.projection(features).transpose(1, 2)
        for layer in self.layers:
            x = F.relu(layer(x))
        embedding = F.relu(self.embedding(statistics(x, pooled)))
        hidden = F.relu(self.hidden(embedding))
        return Speaker(embedding, F.normalize(hidden, dim=1) @ F.normalize(self.speakers, dim=0))


def repeated(features: Tensor, lengths: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Features (B, F, D), each utterance over and over instead of its padding, and `lengths` (B,) of at least so many frames."""
    position = torch.arange(max(features.shape[1], least), device=features.device)
    source = (position % lengths[:, None])[..., None].expand(-1, -1, features.shape[2])
    return features.gather(1, source), lengths.clamp(min=least)


def statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean and standard deviation (unbiased) of (B, C, F) over the first `lengths` (B,) frames, at least two each: (B, 2 × C)."""
    valid = (torch.arange(x.shape[2], device=x.device)[None] < lengths[:, None])[:, None]
    count = lengths[:, None].to(x.dtype)
    mean = x.masked_fill(~valid, 0.0).sum(2) / count
    squares = (x - mean[..., None]).masked_fill(~valid, 0.0).square().sum(2)
    return torch.cat([mean, (squares / (count - 1)).clamp(min=LEAST_VARIANCE).sqrt()], 1)


def am_softmax(cosines: Tensor, speakers: Tensor, *, scale: float, margin: float) -> Tensor:
    """Cross-entropy of scaled cosines (B, S), the true speaker's (B,) lowered by the margin."""
    lowered = cosines - margin * F.one_hot(speakers, cosines.shape[1])
    return F.cross_entropy(scale * lowered, speakers)
