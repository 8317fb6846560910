"""The families whose checkpoints can be converted: how each is told from the others, read and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from upstream import roberta_checkpoint, tera, tera_checkpoint, wav2vec_checkpoint
from upstream.checkpoint import read_checkpoint
from upstream.formats import wav2vec2
from upstream.formats.place import replace_folder
from upstream.native import CONFIG_FILE, ENCODER, HEAD, WEIGHTS_FILE, is_native, read_config, write_native

Tensors = Mapping[str, Tensor]
Notes = tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """A checkpoint of any family.

    Attributes:
        family: whose it is.
        layers, dim: of its transformer, or of its aggregator.
        tensors: under native names.
        source: the family's own form of it, which its writers take.
        notes: sentences for the user.
    """

    family: str
    layers: int
    dim: int
    tensors: Tensors
    source: Any
    notes: Notes = ()


@dataclass(frozen=True)
class Kind:
    """What can be done with a family's checkpoints.

    Attributes:
        read: from a file or folder.
        writers: each writes to a path, over what is there, and gives sentences on what the format does not hold.
    """

    read: Callable[[Path], Content]
    writers: Mapping[str, Callable[[Content, Path], Notes]]


def kind_of(path: Path) -> Kind:
    """The family of a native folder by its configuration, of a file by the names in it; by default that of wav2vec 2.0.

    Raises:
        UpstreamError: the file cannot be read.
    """
    folder = path.parent if path.name == WEIGHTS_FILE else path
    if is_native(folder):
        family = read_config(folder).get("family")
        return next((kind for families, kind in OTHERS.items() if family in families), WAV2VEC2)
    if path.is_dir():
        return WAV2VEC2
    content = read_checkpoint(path)
    if not isinstance(content, Mapping):
        return WAV2VEC2
    if "Transformer" in content:
        return TERA
    weights = content.get("model_weight", content.get("model"))
    names = [str(name) for name in weights] if isinstance(weights, Mapping) else []
    if any(name.startswith("feature_aggregator.") for name in names):
        return WAV2VEC
    return ROBERTA if any(name.startswith(roberta_checkpoint.SENTENCE) for name in names) else WAV2VEC2


def _read_wav2vec2(path: Path) -> Content:
    checkpoint = wav2vec2.read(path, "wav2vec2")
    config = checkpoint.config
    return Content(config.family, config.layers, config.dim, checkpoint.tensors, checkpoint, checkpoint.notes)


def _read_wav2vec(path: Path) -> Content:
    config, tensors = wav2vec_checkpoint.read(path)
    return Content(config.family, len(config.kernels), config.dim, tensors, config)


def _read_roberta(path: Path) -> Content:
    config, tensors, notes = roberta_checkpoint.read(path)
    return Content(roberta_checkpoint.FAMILY, config.layers, config.dim, tensors, config, notes)


def _read_tera(path: Path) -> Content:
    folder = path.parent if path.name == WEIGHTS_FILE else path
    config, tensors = tera.read_native(folder) if (folder / CONFIG_FILE).is_file() else tera_checkpoint.read_s3prl(path)
    return Content(tera.Tera.family, config.transformer.num_hidden_layers, config.transformer.hidden_size, tensors, config)


def _write_tera(content: Content, path: Path) -> Notes:
    parts = [
        {name.removeprefix(prefix): tensor for name, tensor in content.tensors.items() if name.startswith(prefix)}
        for prefix in (ENCODER, HEAD)
    ]
    tera_checkpoint.write_s3prl(path, content.source, parts[0], parts[1] or None)
    return ()


def _write_native(content: Content, path: Path) -> Notes:
    config = {"family": content.family, **content.source.model_dump(mode="json")}
    replace_folder(path, lambda folder: write_native(folder, config, content.tensors))
    return ()


def _written(write: Callable[[Path, Any, Tensors], None]) -> Callable[[Content, Path], Notes]:
    def writer(content: Content, path: Path) -> Notes:
        write(path, content.source, content.tensors)
        return ()

    return writer


def _writer(form: str) -> Callable[[Content, Path], Notes]:
    return lambda content, path: wav2vec2.WRITERS[form](content.source, path)


WAV2VEC2 = Kind(_read_wav2vec2, {form: _writer(form) for form in wav2vec2.WRITERS})
WAV2VEC = Kind(
    _read_wav2vec,
    {
        "native": _write_native,
        "fairseq": _written(wav2vec_checkpoint.write_fairseq),
        "s3prl": _written(wav2vec_checkpoint.write_s3prl),
    },
)
ROBERTA = Kind(
    _read_roberta,
    {
        "native": _write_native,
        "fairseq": _written(roberta_checkpoint.write_fairseq),
        "s3prl": _written(roberta_checkpoint.write_s3prl),
    },
)
TERA = Kind(_read_tera, {"native": _write_native, "s3prl": _write_tera})
OTHERS = {(tera.Tera.family,): TERA, wav2vec_checkpoint.FAMILIES: WAV2VEC, (roberta_checkpoint.FAMILY,): ROBERTA}
