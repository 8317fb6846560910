"""The families whose checkpoints can be converted, a row each."""

from __future__ import annotations

from pathlib import Path

from upstream.checkpoint import read_checkpoint
from upstream.folder import WEIGHTS_FILE
from upstream.formats import roberta, tera, wav2vec, wav2vec2
from upstream.formats.content import Kind
from upstream.native import is_native, read_config

KINDS: tuple[Kind, ...] = (tera.KIND, wav2vec.KIND, roberta.KIND, wav2vec2.KIND)
DEFAULT = wav2vec2.KIND  # its reader says what was looked for


def kind_of(path: Path) -> Kind:
    """The family of a native folder by its configuration, of a file by what is in it; by default that of wav2vec 2.0.

    Raises:
        UpstreamError: the file cannot be read.
    """
    folder = path.parent if path.name == WEIGHTS_FILE else path
    if is_native(folder):
        family = read_config(folder).get("family")
        return next((kind for kind in KINDS if family in kind.families), DEFAULT)
    if path.is_dir():
        return DEFAULT
    content = read_checkpoint(path)
    return next((kind for kind in KINDS if kind.recognized(content)), DEFAULT)
