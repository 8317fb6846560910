"""What extracted features are compared with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from corpus.audio import read_audio
from upstream.base import Upstream


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder with a digest of its bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def alone(model: Upstream, path: Path) -> np.ndarray:
    """The hidden states (L, F, D) of one file by itself."""
    samples = torch.from_numpy(read_audio(path))
    with torch.no_grad():
        return model(samples[None], torch.tensor([len(samples)])).hidden_states[:, 0].numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal up to float error."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
