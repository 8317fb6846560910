"""The files of a checkpoint folder, on the hub or here: how Hugging Face and we call them, and which of them an encoder needs."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from upstream.errors import UpstreamError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS = (WEIGHTS_FILE, f"{WEIGHTS_FILE}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")  # the first is taken
HEADS_FILE = "weir-heads.safetensors"  # what transformers has no place for
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"  # of newer processors, the same inside `feature_extractor`
VOCABULARY_FILE = "vocab.json"
TOKENIZER_FILE = "tokenizer_config.json"
# Beside configuration and weights, where a folder has them: heads, how waveforms are prepared, what CTC outputs stand for.
OPTIONAL = (HEADS_FILE, PREPROCESSOR_FILE, PROCESSOR_FILE, VOCABULARY_FILE, TOKENIZER_FILE)


def weights_among(files: Collection[str]) -> str | None:
    """The file of a folder that holds its weights, or lists their shards."""
    return next((name for name in WEIGHTS if name in files), None)


def shards(weights: Path) -> list[str]:
    """The files that an index names; none for weights in one file.

    Raises:
        UpstreamError: the index cannot be read, or names files elsewhere.
    """
    if not weights.name.endswith(".index.json"):
        return []
    try:
        names = sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UpstreamError(f"{weights}: is not an index of shards ({type(error).__name__}: {error}); download it again") from None
    if odd := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise UpstreamError(f"{weights}: names '{odd[0]}', which is no file beside it; do not trust it")
    return names
