"""What every format of the wav2vec 2.0 family is read into."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from upstream.wav2vec2_config import Wav2Vec2Config


@dataclass(frozen=True)
class Checkpoint:
    """An encoder with whatever heads its file had.

    Attributes:
        config: the architecture.
        tensors: float32 under native names, `encoder.…` and `head.…`.
        notes: sentences for the user: where the input is normalised, what was inferred.
    """

    config: Wav2Vec2Config
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def normalization(config: Wav2Vec2Config, source: str) -> str:
    """The sentence on the input's normalisation, which `source` decided."""
    state = f"on, eps {config.normalize_eps:g}" if config.normalize else "off"
    return f"input normalisation: {state} ({source})"
