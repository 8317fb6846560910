"""The front end as matmuls: equal to the plain modules in float64, for silence and beside a large offset too."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.upstream import make
from upstream.fast import convolutions
from upstream.fast.convolutions import FrontEnd
from upstream.layers.convolutions import Convolutions

SIZES = ((24, 10, 5), (16, 3, 2), (16, 8, 3), (20, 2, 2), (12, 1, 1))


def plain(norm: str, bias: bool) -> Convolutions:
    """Convolutions with random weights."""
    made = make.perturbed(Convolutions(SIZES, norm, bias))  # type: ignore[arg-type]
    assert isinstance(made, Convolutions)
    return made


@torch.no_grad()
def exact(module: Convolutions, wav: Tensor) -> Tensor:
    """Frames (F, C) in float64."""
    return copy.deepcopy(module).double()(wav[None].double(), torch.tensor([len(wav)]))[0].T


WAVES = {
    "noise": lambda: make.waveforms(20_003)[0][0],
    "one window": lambda: make.waveforms(180)[0][0],
    "silence": lambda: torch.zeros(8_000),
    "a constant": lambda: torch.full((8_000,), 0.25),
    "quiet": lambda: 1e-4 * make.waveforms(8_000)[0][0],
    "loud": lambda: 1e4 * make.waveforms(8_000)[0][0],
}


@torch.no_grad()
@pytest.mark.parametrize("wave", WAVES)
@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("group", True), ("layer", True)])
def test_frames_are_those_of_float64(norm: str, bias: bool, wave: str) -> None:
    module, wav = plain(norm, bias), WAVES[wave]()
    assert make.relative_error(FrontEnd(module, torch.float32)(wav), exact(module, wav)) < 5e-6


@torch.no_grad()
def test_a_loud_offset_does_not_spoil_the_group_norm() -> None:
    module, wav = plain("group", False), make.waveforms(8_000)[0][0]
    expected = exact(module, wav)
    shifted = wav + 64.0
    assert make.relative_error(FrontEnd(module, torch.float32)(shifted), exact(module, shifted)) < 5e-6
    assert make.relative_error(FrontEnd(module, torch.float32)(shifted), expected) < 1e-3  # what adding 64 rounds away


@torch.no_grad()
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_chunks_do_not_show(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    front_end, wav = FrontEnd(plain(norm, False), torch.float32), make.waveforms(20_003)[0][0]
    expected = front_end(wav)
    monkeypatch.setattr(convolutions, "CHUNK", {"cpu": 7})
    monkeypatch.setattr(convolutions, "WINDOWS", 100)
    assert make.relative_error(front_end(wav), expected) < 2e-6
