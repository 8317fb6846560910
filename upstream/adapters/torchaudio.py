"""`-u torchaudio:BUNDLE`: the wav2vec 2.0, HuBERT and WavLM bundles of torchaudio.

Their weights are read into Weir's own encoder: torchaudio's gives neither the transformer's input nor the normalised output, and
normalises waveforms over the whole batch.
"""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import torch

from upstream.base import Padding
from upstream.checkpoint import read_checkpoint
from upstream.errors import UpstreamError
from upstream.formats.torchaudio import from_bundle
from upstream.registry import unknown
from upstream.wav2vec2 import Wav2Vec2

ADDRESS = "https://download.pytorch.org/torchaudio/models/"


class Torchaudio(Wav2Vec2):
    """An encoder of the wav2vec 2.0 family with the weights of a bundle."""

    name = "torchaudio"

    @classmethod
    def from_member(cls, member: str, path: Path | None, padding: Padding = "alone") -> Torchaudio:
        """The encoder of the bundle `member`, such as HUBERT_BASE; its weights from `path`, or downloaded into PyTorch's hub folder.

        Raises:
            UpstreamError: there is no such bundle, the download fails, or the file does not fit.
        """
        known = bundles()
        if member not in known:
            raise UpstreamError(unknown("bundle of torchaudio", member, known))
        bundle = known[member]
        file = path or _downloaded(bundle._path)
        where = f"{file} (torchaudio:{member})"
        checkpoint = from_bundle(bundle._params, read_checkpoint(file), bundle._normalize_waveform, where)
        model = cls(checkpoint.config, padding)
        model.load_encoder(checkpoint.tensors, where)
        model.notes = checkpoint.notes
        return model


def bundles() -> dict[str, Any]:
    """The bundles of this torchaudio that are speech encoders, by name."""
    from torchaudio import pipelines

    return {name: value for name, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)}


def _downloaded(name: str) -> Path:
    """A bundle's file, fetched once."""
    address = name if name.startswith("https") else ADDRESS + name
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(name).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(file))  # whole or not at all
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", error)
            raise UpstreamError(f"{address}: could not be fetched ({reason}); give a file on this machine with -k PATH") from None
    return file
