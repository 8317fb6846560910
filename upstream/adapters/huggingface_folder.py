"""Reading the folder of a Transformers model: its configuration, and a model built from it and its weights; nothing that could run.

Only classes of the installed library are built, and only tensors and plain values are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, refuse_code
from upstream.native import read_config, some

# How the library computes, not what: some of these name code on the hub, others break the capture of the states.
RUNTIME_KEYS = {
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation", "fusion_config"),
    *("gradient_checkpointing", "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript"),
}
# Random masks and dropped layers, and what is stacked on the encoder for a task.
SWITCHED_OFF: dict[str, Any] = {
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "apply_spec_augment": False,
    "add_adapter": False,
    "use_intermediate_ffn_before_adapter": False,
}
# What exists and takes no part in the forward once the masks are off, by model type.
UNUSED = {"wav2vec2-conformer": "encoder.pos_conv_embed", "unispeech-sat": "masked_spec_embed"}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's reports and progress bars off the screen: what matters in them is checked here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_model_config(folder: Path) -> Any:
    """The library's configuration of the model in a folder, with everything random and every adapter switched off.

    Raises:
        UpstreamError: no such file; it wants code of its own or quantised weights; the library does not know the model.
    """
    import transformers

    where, values = folder / CONFIG_FILE, read_config(folder)
    refuse_code(where, values)
    model_type = values.get("model_type")
    if not model_type:
        remedy = f"; load it with -u {values['family']}" if "family" in values else ""
        raise UpstreamError(f"{where}: has no model_type, so it is no model of Transformers{remedy}")
    if model_type not in transformers.CONFIG_MAPPING:
        raise UpstreamError(f"{where}: model_type '{model_type}' is not known to Transformers {transformers.__version__}; a newer one may")
    if values.get("quantization_config"):
        raise UpstreamError(f"{where}: has quantization_config; quantised weights are not read: take the model that they were made from")
    kept = {key: value for key, value in values.items() if key not in RUNTIME_KEYS}
    with quiet():
        try:
            config = transformers.CONFIG_MAPPING[model_type].from_dict(kept)
        except Exception as error:  # noqa: BLE001 - each model type has its own checks
            raise UpstreamError(f"{where}: Transformers {transformers.__version__} refuses it: {_line(error)}") from None
    for name, value in SWITCHED_OFF.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def build_model(kind: Any, config: Any, tensors: Mapping[str, Tensor], where: Path) -> tuple[Any, set[str]]:
    """Build the library's model with these weights.

    Args:
        kind: the library's class.
        config: its configuration.
        tensors: weights by the names of the file; heads and prefixes are the library's to sort out.
        where: the folder, for messages.

    Returns: the model in evaluation mode, and the names of weights that it does not use.

    Raises:
        UpstreamError: weights are missing or of another shape, each named; the configuration cannot be built.
    """
    config._attn_implementation = "sdpa" if kind._supports_sdpa else "eager"
    options = {"dtype": torch.float32, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with quiet():
        try:
            model, report = kind.from_pretrained(None, config=config, state_dict=dict(tensors), **options)
        except Exception as error:  # noqa: BLE001 - a configuration can fail inside the library in any way
            raise UpstreamError(f"{where}: Transformers cannot build this model: {_line(error)}") from None
    unused = UNUSED.get(config.model_type)
    missing = {name for name in report["missing_keys"] if not (unused and name.startswith(unused))}
    if missing:
        raise UpstreamError(f"{where}: weights are missing: {some(missing)}; the library would leave them random")
    if report["mismatched_keys"]:
        shapes = [f"'{name}' is {tuple(found)}, expected {tuple(expected)}" for name, found, expected in sorted(report["mismatched_keys"])]
        raise UpstreamError(f"{where}: the weights do not fit {CONFIG_FILE}: {'; '.join(shapes[:6])}")
    if unused:
        _remove(model, unused)
    return model, {name for name in report["unexpected_keys"] if not name.endswith("masked_spec_embed")}


def _remove(model: nn.Module, name: str) -> None:
    """Take a module or parameter out, so that no optimizer or process group waits for its gradients."""
    parent, _, leaf = name.rpartition(".")
    delattr(model.get_submodule(parent), leaf)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:240] or type(error).__name__
