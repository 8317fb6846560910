"""wav2vec and vq-wav2vec against s3prl's vendored models, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.upstream import make, wav2vec_files
from upstream.base import Padding
from upstream.vq_wav2vec import VqWav2Vec
from upstream.wav2vec import Wav2Vec

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = 2e-6


def kind(changes: dict[str, Any]) -> type[Wav2Vec]:
    """The class that reads such a file."""
    return VqWav2Vec if "vq_type" in changes else Wav2Vec


@pytest.fixture(params=wav2vec_files.VARIANTS)
def changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One architecture."""
    return wav2vec_files.VARIANTS[request.param]


@torch.no_grad()
def assert_parity(model: Wav2Vec, path: Path, *samples: int) -> None:
    """Every valid frame of every state agrees, and every code does."""
    wavs, lengths = make.waveforms(*samples)
    theirs = wav2vec_files.reference(path, wavs, lengths)
    ours = model.eval()(wavs, lengths)
    assert len(ours.hidden_states) == len(theirs["hidden_states"]) == model.num_states
    for row, frames in enumerate(ours.lengths.tolist()):
        for own, other in zip(ours.hidden_states, theirs["hidden_states"], strict=True):
            assert make.relative_error(own[row, :frames], other[row, :frames]) < TOLERANCE
    if isinstance(model, VqWav2Vec):
        codes, counts = model.codes(wavs, lengths)
        assert torch.equal(counts, ours.lengths)
        for row, frames in enumerate(counts.tolist()):
            assert torch.equal(codes[row, :frames], theirs["codeids"][row, :frames])
            assert len(codes[row, :frames].unique()) > 4  # not one code for everything


def test_an_utterance_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    wav2vec_files.s3prl_file(path, **changes)
    assert_parity(kind(changes).from_checkpoint(path), path, 23_457)
    assert_parity(kind(changes).from_checkpoint(path, "reference"), path, 23_457)


def test_reference_padding_repeats_the_published_batch(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    wav2vec_files.s3prl_file(path, **changes)
    assert_parity(kind(changes).from_checkpoint(path, "reference"), path, 27_237, 16_000, 9_999)


@torch.no_grad()
def test_published_padding_changes_valid_frames_and_alone_does_not(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    wav2vec_files.s3prl_file(path)
    wavs, lengths = make.waveforms(32_000, 9_999)
    single = wav2vec_files.reference(path, wavs[1:, :9_999], lengths[1:])["hidden_states"]
    frames = single[0].shape[1]
    errors: dict[Padding, float] = {}
    paddings: tuple[Padding, ...] = ("alone", "reference")
    for padding in paddings:
        states = Wav2Vec.from_checkpoint(path, padding).eval()(wavs, lengths).hidden_states
        errors[padding] = max(make.relative_error(own[1, :frames], other[0]) for own, other in zip(states, single, strict=True))
    assert errors["alone"] < TOLERANCE
    assert errors["reference"] > 0.1


def test_the_shortest_utterance_has_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    wav2vec_files.s3prl_file(path)
    model = Wav2Vec.from_checkpoint(path)
    assert (model.minimum_samples, model.stride) == (465, 160)
    assert_parity(model, path, 465)


def test_a_written_file_loads_in_s3prl(changes: dict[str, Any], tmp_path: Path) -> None:
    from upstream.formats.wav2vec import read, write_s3prl

    wav2vec_files.s3prl_file(tmp_path / "theirs.pt", **changes)
    write_s3prl(tmp_path / "ours.pt", *read(tmp_path / "theirs.pt"))
    assert_parity(kind(changes).from_checkpoint(tmp_path / "theirs.pt"), tmp_path / "ours.pt", 16_000)
