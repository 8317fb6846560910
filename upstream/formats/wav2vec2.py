"""Checkpoints of the wav2vec 2.0 family: which format a file or folder is in, its contents, and writing it in any of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, WEIGHTS
from upstream.formats import fairseq, huggingface, torchaudio
from upstream.formats.base import Checkpoint, normalization
from upstream.formats.containers import save
from upstream.formats.content import Content, Kind, Writer
from upstream.formats.fairseq_files import fairseq_content, s3prl_content
from upstream.formats.place import replace_folder
from upstream.native import is_native, read_native, replace_file, write_native
from upstream.settings import parse
from upstream.wav2vec2_config import FAMILIES, Wav2Vec2Config

__all__ = ["WRITERS", "Checkpoint", "read"]

EXPECTED = (
    "looked for a folder of Weir (config.json with 'family') or of Hugging Face (config.json with 'model_type'), or a file of fairseq "
    "('model' with 'cfg' or 'args'), s3prl ('model_weight' with 'model_cfg'), WavLM ('model' with 'cfg'), DistilHuBERT ('Distiller' "
    "with 'Config') or torchaudio (a state dictionary)"
)

FILES = (fairseq, torchaudio)


def read(path: Path | None, name: str) -> Checkpoint:
    """Read a checkpoint of any known format.

    Args:
        path: file or folder; a file of weights beside its `config.json` stands for the folder.
        name: the encoder that asks, for messages.

    Raises:
        UpstreamError: there is no path, or what is there is of no known format.
    """
    if path is None:
        raise UpstreamError(f"upstream '{name}' needs a checkpoint: give a folder or file of its family with -k PATH")
    folder = path if path.is_dir() else path.parent
    if (path.is_dir() or path.name in WEIGHTS) and (folder / CONFIG_FILE).is_file():
        if huggingface.recognized(folder):
            return huggingface.read(folder)
        if is_native(folder):
            return _read_native(folder)
    if path.is_dir():
        raise UpstreamError(f"{path}: is no checkpoint of the wav2vec 2.0 family: {EXPECTED}")
    content = read_checkpoint(path)
    for kind in FILES:
        if kind.recognized(content):
            return kind.read(content, path)
    found = f"a dictionary with {', '.join(map(repr, list(content)[:6]))}" if isinstance(content, dict) else type(content).__name__
    raise UpstreamError(f"{path}: holds {found}, which is no checkpoint of the wav2vec 2.0 family: {EXPECTED}")


def _read_native(folder: Path) -> Checkpoint:
    values, tensors = read_native(folder, FAMILIES)
    config = parse(Wav2Vec2Config, values, str(folder / CONFIG_FILE))
    return Checkpoint(config, tensors, (normalization(config, CONFIG_FILE),))


def _write_native(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    replace_folder(path, lambda folder: write_native(folder, checkpoint.config.model_dump(mode="json"), checkpoint.tensors))
    return ()


def _write_hugging_face(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    files, notes = huggingface.files(checkpoint)

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)

    replace_folder(path, fill)
    return notes


def _write_fairseq(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    content, notes = fairseq_content(checkpoint)
    save(path, content)
    return notes


def _write_s3prl(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    content, notes = s3prl_content(checkpoint)
    save(path, content)
    return notes


def _write_torchaudio(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    state, block, notes = torchaudio.state_of(checkpoint)
    save(path, state)  # first: without a JSON file of its shapes it is read from those alone
    replace_file(path.with_suffix(".json"), block)
    return notes


# Each writes a checkpoint, whole or not at all, over what is there, and gives sentences on what the format does not hold.
WRITERS: dict[str, Callable[[Checkpoint, Path], tuple[str, ...]]] = {
    "native": _write_native,
    "hf": _write_hugging_face,
    "s3prl": _write_s3prl,
    "fairseq": _write_fairseq,
    "torchaudio": _write_torchaudio,
}


def recognized(content: Any) -> bool:
    """Whether this is what a file of this family holds."""
    return any(kind.recognized(content) for kind in FILES)


def _opened(path: Path) -> Content:
    checkpoint = read(path, "wav2vec2")
    config = checkpoint.config
    return Content(config.family, config.layers, config.dim, checkpoint.tensors, checkpoint, checkpoint.notes)


def _writer(form: str) -> Writer:
    return lambda content, path: WRITERS[form](content.source, path)


KIND = Kind(FAMILIES, recognized, _opened, {form: _writer(form) for form in WRITERS})
