"""Checkpoints of the wav2vec 2.0 family: which format a file or folder is in, and its contents."""

from __future__ import annotations

from pathlib import Path

from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.formats import fairseq
from upstream.formats.base import Checkpoint, normalization
from upstream.native import read_native
from upstream.settings import parse
from upstream.wav2vec2_config import FAMILIES, Wav2Vec2Config

__all__ = ["Checkpoint", "read"]


def read(path: Path | None, name: str) -> Checkpoint:
    """Read a checkpoint of any known format.

    Args:
        path: file or folder.
        name: the encoder that asks, for messages.

    Raises:
        UpstreamError: there is no path, or what is there is of no known format.
    """
    if path is None:
        raise UpstreamError(f"upstream '{name}' has no published weights here: give a checkpoint with -k PATH")
    if path.is_file():
        content = read_checkpoint(path)
        if fairseq.recognized(content):
            return fairseq.read(content, path)
    config, tensors = read_native(path, FAMILIES)
    parsed = parse(Wav2Vec2Config, config, str(path / "config.json"))
    return Checkpoint(parsed, tensors, (normalization(parsed, "config.json"),))
