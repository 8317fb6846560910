"""What trains in a downstream run: featurizer and head, and the upstream where `-f` is given."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from engine.specaug import SpecAugment
from upstream.base import Representation, Upstream
from upstream.featurizer import Featurizer, nominal_lengths


class Probe(nn.Module):
    """From hidden states, or from waveforms where the upstream trains, to the head's output.

    Args:
        featurizer: mixes the hidden states.
        head: `(features (B, F, D), lengths (B,)) -> output`; with an attribute `pools` that is true, a function of the mean over
            frames alone.
        specaug: augments the mixed features while training.
        upstream: the encoder, where it trains too.
        stride: with a number, utterances keep round(samples / stride) frames at most, the benchmark's rule.
    """

    def __init__(
        self, featurizer: Featurizer, head: nn.Module, specaug: SpecAugment | None = None,
        upstream: Upstream | None = None, stride: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.featurizer, self.head, self.specaug, self.upstream, self.stride = featurizer, head, specaug, upstream, stride
        self.pools = getattr(head, "pools", False) and specaug is None and not featurizer.normalize

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The trained modules under the names that checkpoints give them."""
        parts: dict[str, nn.Module] = {"Featurizer": self.featurizer, "Downstream": self.head}
        return parts if self.upstream is None else {**parts, "Upstream": self.upstream}

    def forward(self, inputs: Tensor, lengths: Tensor, samples: Tensor) -> Any:
        """The head's output.

        Args:
            inputs: hidden states (L, B, F, D), or waveforms (B, T) where the upstream trains.
            lengths: (B,) valid frames, or valid samples.
            samples: (B,) valid samples.
        """
        representation = self.heard(Representation(inputs, lengths) if self.upstream is None else self.upstream(inputs, lengths), samples)
        lengths = representation.lengths
        features = self.featurizer(representation)[0][:, : int(lengths.max())]
        if self.specaug is not None:
            features = self.specaug(features, lengths)
        return self.head(features, lengths)

    def heard(self, representation: Representation, samples: Tensor) -> Representation:
        """What the head needs of a representation: the frames that count, or their mean where `pools`."""
        if representation.hidden_states.shape[2] == 1:  # nothing to count, and its own mean
            return representation
        lengths = representation.lengths
        if self.stride is not None:
            lengths = nominal_lengths(samples, self.stride, lengths)
        if self.pools:  # the mean commutes with the weighted sum, and most of the work then needs no gradient
            return representation.mean(lengths)
        return Representation(representation.hidden_states, lengths)
