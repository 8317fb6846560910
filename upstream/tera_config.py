"""Configurations of the TERA family: the blocks `transformer`, `task` and `audio` of the published files, and named sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from upstream.errors import UpstreamError
from upstream.features.kaldi import KaldiConfig
from upstream.features.logmel import LogMelConfig
from upstream.settings import Settings, parse


class TransformerConfig(Settings):
    """The `transformer` block of the published configurations; the defaults are TERA base.

    `input_dim` is -1 or equal to the front end's width.
    """

    input_dim: int = -1
    hidden_size: int = Field(default=768, gt=0)
    num_hidden_layers: int = Field(default=3, gt=0)
    num_attention_heads: int = Field(default=12, gt=0)
    intermediate_size: int = Field(default=3072, gt=0)
    hidden_act: Literal["gelu", "relu", "swish"] = "gelu"
    hidden_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    share_layer: bool = False
    pre_layer_norm: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide {self.hidden_size} features")
        return self


class TaskConfig(Settings):
    """The `task` block: `sequence_length` is the longest piece in frames that is encoded at once, 0 for no limit.

    All other keys describe the alterations of pre-training; they are kept and do not matter here.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    sequence_length: int = Field(default=1500, ge=0)


class TeraConfig(Settings):
    """An encoder of this family, in the blocks of the published configurations."""

    transformer: TransformerConfig = TransformerConfig()
    task: TaskConfig = TaskConfig()
    audio: LogMelConfig | KaldiConfig = LogMelConfig()

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str) -> TeraConfig:
        """Build from plain values; `where` names their source in errors."""
        blocks = dict(values)
        if isinstance(audio := blocks.get("audio"), Mapping):
            kind: type[LogMelConfig | KaldiConfig] = KaldiConfig if "kaldi" in audio else LogMelConfig
            blocks["audio"] = parse(kind, audio, f"{where}: audio")
        return parse(cls, blocks, where)

    @classmethod
    def of_size(cls, size: str) -> TeraConfig:
        """The configuration of a named size: `base`, `slim`, `mini` or `large`."""
        if size not in SIZES:
            raise UpstreamError(f"tera: unknown size '{size}'; known: {', '.join(SIZES)}")
        return cls(transformer=TransformerConfig(**SIZES[size]))


# base, large (Mockingjay's) and slim are the published ones; mini is ours, small enough to ship.
SIZES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {"num_hidden_layers": 12},
    "slim": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 768},
    "mini": {"hidden_size": 192, "num_attention_heads": 4, "intermediate_size": 768},
}
