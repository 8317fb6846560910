"""The files of a checkpoint folder, on the hub or here: how Hugging Face and we call them, and which of them an encoder needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Preprocessor:
    """How a folder's waveforms are prepared.

    Attributes:
        file: which says so; None where there is none.
        values: by Hugging Face's names.
    """

    file: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def normalizes(self) -> bool:
        """Whether waveforms get zero mean and unit variance; without a file they do not."""
        return self.file is not None and bool(self.values.get("do_normalize", True))

    @property
    def source(self) -> str:
        """The file, in words."""
        return self.file or f"no {PREPROCESSOR_FILE}"


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


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        UpstreamError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpstreamError(f"{path}: cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise UpstreamError(f"{path}: holds {type(content).__name__}, not a JSON object; copy it again")
    return content


def read_preprocessor(folder: Path) -> Preprocessor:
    """The input's settings in a folder, empty where it has none.

    Raises:
        UpstreamError: the file is no JSON object, wants code of its own or another sample rate, or a switch in it is not on or off.
    """
    for name, key in ((PREPROCESSOR_FILE, None), (PROCESSOR_FILE, "feature_extractor")):
        path = folder / name
        if not path.is_file():
            continue
        content = read_object(path)
        refuse_code(path, content)
        values = content if key is None else content.get(key)
        if values is None:
            continue
        if not isinstance(values, dict):
            raise UpstreamError(f"{path}: {key} holds {type(values).__name__}, not a JSON object; copy it again")
        refuse_code(path, values)
        rate = values.get("sampling_rate", SAMPLE_RATE)
        if rate != SAMPLE_RATE:
            raise UpstreamError(f"{path}: sampling_rate is {rate}; only models of {SAMPLE_RATE} Hz are supported")
        for switch in ("do_normalize", "return_attention_mask"):
            if not isinstance(values.get(switch), (bool, type(None))):  # null is off
                raise UpstreamError(f"{path}: {switch} is {values[switch]!r}, which is neither true nor false; correct it")
        return Preprocessor(name, values)
    return Preprocessor()


def refuse_code(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse settings that name code to run.

    Raises:
        UpstreamError: they do.
    """
    if "auto_map" in values:
        raise UpstreamError(
            f"{path}: auto_map asks to run code that comes with the model; that is never done: register a class of your own"
        )
