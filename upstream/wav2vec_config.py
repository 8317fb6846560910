"""Configurations of wav2vec and vq-wav2vec; the defaults are wav2vec large.

Source: fairseq models/wav2vec/wav2vec.py and examples/wav2vec/README.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from upstream.layers.convolutions import ConvLayer, receptive_field, stride_of
from upstream.settings import Settings


class QuantizerConfig(Settings):
    """How vq-wav2vec turns a frame into codes.

    Attributes:
        kind: `gumbel`, the code with the largest logit, or `kmeans`, the nearest entry.
        codes: entries a group, V.
        groups: parts of a frame that get a code each, G.
        shared: one codebook for all groups.
        depth: linear maps before the Gumbel logits.
    """

    kind: Literal["gumbel", "kmeans"]
    codes: int = Field(default=320, gt=1)
    groups: int = Field(default=2, gt=0)
    shared: bool = False
    depth: int = Field(default=1, gt=0)


class Wav2VecConfig(Settings):
    """A convolutional encoder, a quantizer where it is vq-wav2vec, and a causal convolutional aggregator.

    Attributes:
        conv_layers: channels, kernel and stride of each convolution over the waveform.
        kernels: of the aggregator's convolutions, which keep the number of channels and have stride 1.
        activation: after each norm.
        log_compression: log(|z| + 1) on the encoder's output.
        affine: the norms have a weight and a bias.
        aggregator_bias: the aggregator's convolutions have a bias.
        aggregator_padding: what stands before the first frame: copies of it, or zeros.
        skip_connections: each aggregator layer adds its input, and scales by the root of `residual_scale`.
        dropout: inside the aggregator.
        feature_dropout: on the aggregator's input.
        quantizer: None for wav2vec.
        pretraining: what else the published configuration says of the model, under fairseq's names; decides no hidden state.
    """

    conv_layers: tuple[ConvLayer, ...] = Field(default=((512, 10, 5), (512, 8, 4), *((512, 4, 2),) * 3, *((512, 1, 1),) * 2), min_length=1)
    kernels: tuple[int, ...] = Field(default=tuple(range(2, 14)), min_length=1)
    activation: Literal["relu", "gelu"] = "relu"
    log_compression: bool = True
    affine: bool = True
    aggregator_bias: bool = True
    aggregator_padding: Literal["replicate", "zeros"] = "replicate"
    skip_connections: bool = True
    residual_scale: float = Field(default=0.5, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    quantizer: QuantizerConfig | None = None
    pretraining: dict[str, Any] = {}

    @model_validator(mode="after")
    def _groups_divide(self) -> Wav2VecConfig:
        if self.quantizer and self.dim % self.quantizer.groups:
            raise ValueError(f"{self.quantizer.groups} groups do not divide {self.dim} features")
        return self

    @property
    def family(self) -> str:
        """Which encoder reads this configuration."""
        return "vq_wav2vec" if self.quantizer else "wav2vec"

    @property
    def dim(self) -> int:
        """Features of every state."""
        return self.conv_layers[-1][0]

    @property
    def stride(self) -> int:
        """Samples a frame."""
        return stride_of(self.conv_layers)

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that make a frame."""
        return receptive_field(self.conv_layers)
