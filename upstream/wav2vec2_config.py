"""Configurations of the wav2vec 2.0 family; the defaults are wav2vec 2.0 Base.

Published values: table 1.8 of each family's paper and released checkpoints; `configs/upstream/` has them by name.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from upstream.layers.convolutions import receptive_field, stride_of
from upstream.layers.options import TransformerOptions
from upstream.settings import Settings

Family = Literal["wav2vec2", "wav2vec2_conformer", "hubert", "wavlm", "data2vec", "tera2", "distilhubert"]
FAMILIES: tuple[str, ...] = Family.__args__  # type: ignore[attr-defined]
CHUNK_FAMILIES = ("hubert", "wavlm", "tera2")  # fold the padding mask into chunks of samples in fairseq and s3prl


class PositionalConvolutionConfig(Settings):
    """`norm`: `weight` (of the kernel), `batch` (of the input, HuBERT variants) or `layer` (of each output, data2vec's stack)."""

    kernel: int = Field(default=128, gt=0)
    groups: int = Field(default=16, gt=0)
    depth: int = Field(default=1, gt=0)
    norm: Literal["weight", "batch", "layer"] = "weight"


class Wav2Vec2Config(Settings):
    """An encoder of this family.

    Attributes:
        family: which published family it belongs to.
        conv_layers: channels, kernel and stride of each convolution over the waveform.
        conv_norm: `group`, over time in the first convolution, or `layer`, over channels in each.
        feature_norm: layer norm on the convolutions' frames.
        projection: a linear map from the convolutions' channels to `dim`; without it both must be equal.
        positional_convolution: None for Conformers, whose attention knows distances.
        pre_norm: layer norm before each block and at the end, instead of after each block and at the beginning.
        normalize: bring every waveform to zero mean and unit variance first, a property of the checkpoint.
        normalize_eps: added to that variance: 1e-5 in fairseq, 1e-7 in Hugging Face's feature extractors.
        padding_rule: how the published code finds the valid frames of a padded batch, for `padding: reference`: by the lengths that
            the convolutions make, or by folding the samples into one chunk a frame.
        feature_grad_mult: scales the gradient that reaches the convolutions.
        pretraining: what else the published configuration says, under fairseq's names; decides no hidden state.
    """

    family: Family = "wav2vec2"
    conv_layers: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = Field(
        default=((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2), min_length=1
    )
    conv_norm: Literal["group", "layer"] = "group"
    conv_bias: bool = False
    feature_norm: bool = True
    projection: bool = True
    dim: int = Field(default=768, gt=0)
    layers: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    ffn_dim: int = Field(default=3072, gt=0)
    activation: Literal["gelu", "relu", "swish"] = "gelu"
    pre_norm: bool = False
    block: Literal["transformer", "conformer"] = "transformer"
    positions: Literal["none", "relative", "rotary", "gated"] = "none"
    positional_convolution: PositionalConvolutionConfig | None = PositionalConvolutionConfig()
    depthwise_kernel: int = Field(default=31, gt=0)
    buckets: int = Field(default=320, gt=0)
    max_distance: int = Field(default=800, gt=0)
    normalize: bool = False
    normalize_eps: float = Field(default=1e-5, gt=0)
    padding_rule: Literal["lengths", "chunks"] = "lengths"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    activation_dropout: float = Field(default=0.0, ge=0, lt=1)
    input_dropout: float = Field(default=0.1, ge=0, lt=1)
    feature_grad_mult: float = Field(default=0.1, ge=0)
    pretraining: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> Wav2Vec2Config:
        if self.dim % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {self.dim} features")
        if not self.projection and self.conv_layers[-1][0] != self.dim:
            raise ValueError(f"without a projection the convolutions' {self.conv_layers[-1][0]} channels must be dim, which is {self.dim}")
        shape = self.positional_convolution
        if shape is not None and self.dim % shape.groups:
            raise ValueError(f"positional_convolution.groups {shape.groups} do not divide {self.dim} features")
        if self.depthwise_kernel % 2 == 0:
            raise ValueError(f"depthwise_kernel {self.depthwise_kernel} is even: its output would not fit its input")
        if self.block == "transformer" and self.positional_convolution is None:
            raise ValueError("transformer layers need a positional_convolution: nothing else tells them of time")
        return self

    @property
    def stride(self) -> int:
        """Samples a frame."""
        return stride_of(self.conv_layers)

    @property
    def minimum_samples(self) -> int:
        """The fewest samples that make a frame."""
        return receptive_field(self.conv_layers)

    def transformer_options(self, alone: bool) -> TransformerOptions:
        """The stack of layers; `alone` keeps padding out of a Conformer's convolutions."""
        return TransformerOptions(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            ffn_dim=self.ffn_dim,
            activation=self.activation,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation_dropout=self.activation_dropout,
            pre_norm=self.pre_norm,
            block=self.block,
            positions=self.positions,
            buckets=self.buckets,
            max_distance=self.max_distance,
            depthwise_kernel=self.depthwise_kernel,
            mask_convolution=alone,
        )
