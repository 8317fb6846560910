"""Encoders in Weir's own format: what is written, and what loading reads of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import upstream
from tests.upstream import make
from upstream.errors import UpstreamError
from upstream.native import read_config, read_native
from upstream.native_upstream import NativeUpstream


@pytest.fixture(params=["wav2vec", "vq_wav2vec", "vq_wav2vec_roberta"])
def model(request: pytest.FixtureRequest) -> NativeUpstream:
    """A small encoder."""
    made = make.build(request.param)
    assert isinstance(made, NativeUpstream)
    return made


def test_a_folder_holds_family_architecture_weights_head_and_notes(model: NativeUpstream, tmp_path: Path) -> None:
    head = {"head.map.weight": torch.ones(2, 3)}
    model.save_native(tmp_path, head, notes={"steps": 3})
    config, tensors = read_native(tmp_path, [model.family])
    assert config == {"family": model.family, **model.config.model_dump(mode="json")}
    assert read_config(tmp_path)["notes"] == {"steps": 3}
    assert tensors.keys() == model.native_tensors().keys() | head.keys()
    read = type(model).from_checkpoint(tmp_path)
    wavs, lengths = make.waveforms(8_000, 6_000)
    with torch.no_grad():
        assert torch.equal(read.eval()(wavs, lengths).hidden_states, model(wavs, lengths).hidden_states)


def test_weights_may_be_stored_in_half_precision(model: NativeUpstream, tmp_path: Path) -> None:
    model.save_native(tmp_path, dtype=torch.float16)
    read = type(model).from_checkpoint(tmp_path)
    assert isinstance(read, NativeUpstream)
    for name, tensor in model.native_tensors().items():
        assert torch.equal(read.native_tensors()[name], tensor.half().float())


@pytest.mark.parametrize("name", ["hubert", "vq_wav2vec_roberta"])
def test_a_folder_of_another_network_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(UpstreamError, match=r"tera-mini: holds a tera encoder.*; use -u tera$"):
        upstream.load(name, "tera-mini")


def test_weights_that_do_not_fit_are_named_with_their_place(model: NativeUpstream) -> None:
    tensors = model.native_tensors() | {"encoder.other": torch.zeros(1), "head.other": torch.zeros(1)}
    with pytest.raises(UpstreamError, match="here: the weights do not fit the configuration: unexpected 'other'"):
        model.load_encoder(tensors, "here")
