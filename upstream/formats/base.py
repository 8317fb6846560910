"""What every format of the wav2vec 2.0 family is read into, and what a format that says less is given along.

Other formats have no place for some of our fields and tensors. Those go, under the key `weir`, beside what the format's own
readers look at; they read past it, and we put it back.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from upstream.checkpoint import plain
from upstream.errors import UpstreamError
from upstream.native import HEAD, some
from upstream.settings import parse
from upstream.wav2vec2_config import CHUNK_FAMILIES, Wav2Vec2Config

logger = logging.getLogger(__name__)

WEIR = "weir"
# Fields that decide no hidden state of an utterance by itself: a format may lose them.
UNSEEN = {
    *("family", "padding_rule", "pretraining", "normalize_eps", "feature_grad_mult"),
    *("dropout", "attention_dropout", "activation_dropout", "input_dropout"),
}
# Under `pretraining`, what is no entry of fairseq's model configuration.
TASK, DICTIONARIES, TARGETS, FINE_TUNING, HUGGING_FACE = "task", "dictionaries_symbols", "target_dictionary", "fine_tuning", "huggingface"
RESERVED = (TASK, DICTIONARIES, TARGETS, FINE_TUNING, HUGGING_FACE)

WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
RATE_TOLERANCE = 4e-3  # relative, more than rounding to bfloat16 does
_ROTARY_BUFFER = re.compile(r"encoder\.(layers\.\d+\.self_attn\.rotary_emb|embed_positions)\.inv_freq")


@dataclass(frozen=True)
class Checkpoint:
    """An encoder with whatever heads its file had.

    Attributes:
        config: the architecture.
        tensors: in the types of the file, under native names, `encoder.…` and `head.…`.
        notes: sentences for the user: where the input is normalised, what was inferred.
    """

    config: Wav2Vec2Config
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def normalization(config: Wav2Vec2Config, source: str) -> str:
    """The sentence on the input's normalisation, which `source` decided."""
    state = f"on, eps {config.normalize_eps:g}" if config.normalize else "off"
    return f"input normalisation: {state} ({source})"


def chunk_rule(family: str) -> str:
    """How fairseq and s3prl find the valid frames of a padded batch."""
    return "chunks" if family in CHUNK_FAMILIES else "lengths"


@contextmanager
def typed(where: str) -> Iterator[None]:
    """Inside, a configuration's value of a type that nothing can be done with is an error that says so."""
    try:
        yield
    except (TypeError, RuntimeError) as error:  # PyTorch raises the second for a tensor
        raise UpstreamError(f"{where}: a value of the configuration is of the wrong type ({error}); the file is damaged") from None


def configured(values: Mapping[str, Any], extra: Any, where: str) -> Wav2Vec2Config:
    """The architecture that a format's configuration gives, with the fields that `weir` adds to it."""
    return parse(Wav2Vec2Config, {**values, **added(extra, where)}, where)


def added(block: Any, where: str) -> dict[str, Any]:
    """What stands under `weir`, or a part of it; empty where there is none.

    Raises:
        UpstreamError: it is no mapping.
    """
    block = {} if block is None else plain(block)
    if not isinstance(block, dict):
        raise UpstreamError(f"{where}: '{WEIR}' holds {type(block).__name__} where a mapping belongs; the file is damaged")
    return {str(key): value for key, value in block.items()}


def lost(config: Wav2Vec2Config, reread: Wav2Vec2Config, what: str, kept: Iterable[str] = ()) -> dict[str, Any]:
    """The fields that a format does not give back, for its `weir` block.

    Args:
        config: what is written.
        reread: what the written configuration says without the block.
        what: the format, for the message.
        kept: fields besides `UNSEEN` in which both give the same states.

    Raises:
        UpstreamError: the format's own readers would build another model.
    """
    ours, theirs = config.model_dump(mode="json"), reread.model_dump(mode="json")
    differing = {name: value for name, value in ours.items() if theirs[name] != value}
    unlike = differing.keys() - UNSEEN - set(kept) - _unused(config)
    if unlike:
        said = ", ".join(f"{name} = {ours[name]}" for name in sorted(unlike))
        raise UpstreamError(f"{what}: has no such {config.family} model: {said}; keep it in Weir's own format")
    return differing


def _unused(config: Wav2Vec2Config) -> set[str]:
    """Fields that this architecture does not read."""
    unused = set() if config.positions == "gated" else {"buckets", "max_distance"}
    return unused | (set() if config.block == "conformer" else {"depthwise_kernel"})


def respelled(tensors: Mapping[str, Tensor], parametrized: bool) -> dict[str, Tensor]:
    """Weight-normalised tensors as PyTorch 2's parametrisation names them, or as `weight_g` and `weight_v`."""
    pairs = [(new, old) if parametrized else (old, new) for old, new in WEIGHT_NORM.items()]
    renamed = {}
    for name, tensor in tensors.items():
        for source, target in pairs:
            if name.endswith(f".{source}"):
                name = name.removesuffix(source) + target
        renamed[name] = tensor
    return renamed


def weights(state: Mapping[Any, Any], where: str) -> dict[str, Tensor]:
    """A state dictionary with one spelling of weight norm.

    Raises:
        UpstreamError: something in it is no tensor, or belongs to adapters.
    """
    if odd := [name for name, tensor in state.items() if not (isinstance(name, str) and isinstance(tensor, Tensor))]:
        raise UpstreamError(f"{where}: '{odd[0]}' among the weights is not a tensor; the file is none of the wav2vec 2.0 family")
    if adapters := {name for name in state if "adapter" in name}:
        raise UpstreamError(f"{where}: models with adapters are not read: {some(adapters)}; merge or remove them first")
    return respelled(state, parametrized=False)


def without(tensors: dict[str, Tensor], ignored: re.Pattern[str], where: str) -> dict[str, Tensor]:
    """The tensors whose names do not begin with `ignored`; the others are named in the log."""
    dropped = {name for name in tensors if ignored.match(name)}
    if dropped:
        logger.warning("%s: not read, as no hidden state needs it: %s", where, some(dropped))
    return {name: tensor for name, tensor in tensors.items() if name not in dropped}


def without_rotary_buffers(tensors: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors without the rates of rotary positions, which follow from the size of a head.

    Raises:
        UpstreamError: they are others than ours.
    """
    for name, tensor in tensors.items():
        if _ROTARY_BUFFER.fullmatch(name) and not torch.allclose(tensor.float(), rotary_rates(2 * len(tensor)), rtol=RATE_TOLERANCE):
            raise UpstreamError(f"{where}: '{name}' is not of base 10000; such rotary positions are not supported")
    return {name: tensor for name, tensor in tensors.items() if not _ROTARY_BUFFER.fullmatch(name)}


def rotary_rates(head_dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The rates (d / 2,) of rotary positions, as the published files store them."""
    return (1.0 / 10_000.0 ** (torch.arange(0, head_dim, 2).float() / head_dim)).to(dtype)


def stored_convolution(tensors: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Kernel and groups of the positional convolution that a Conformer's file holds and no Conformer uses."""
    weight = tensors.get(f"{HEAD}positional_convolution.weight_v")
    return None if weight is None else (weight.shape[2], weight.shape[0] // weight.shape[1])


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration can be written as JSON, as it comes back from there."""
    return dict(_json_items(values))


def _json_items(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        try:
            yield str(key), json.loads(json.dumps(value))
        except (TypeError, ValueError):
            logger.warning("configuration: '%s' is left out: %s cannot be kept", key, type(value).__name__)
