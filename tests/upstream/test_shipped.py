"""The checkpoint that ships: small, loadable by its name, and trained."""

from __future__ import annotations

import torch

import upstream
from pretrain.tera import Alteration, alter
from upstream.tera import load_head, read_native


def test_tera_mini_is_under_five_megabytes_and_loads_by_its_name() -> None:
    folder = upstream.shipped()["tera-mini"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    model = upstream.load("tera", "tera-mini")
    assert (model.num_states, model.dim, model.stride) == (4, 192, 160)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert upstream.shipped_for("tera") == "tera-mini"


def test_tera_mini_restores_masked_bands_better_than_silence_would() -> None:
    config, tensors = read_native(upstream.shipped()["tera-mini"])
    model, head = upstream.load("tera", "tera-mini"), load_head(config, tensors, "tera-mini")
    torch.manual_seed(0)
    time = torch.arange(32_000) / 16_000
    wave = sum(torch.sin(2 * torch.pi * 140 * harmonic * time) / harmonic for harmonic in range(1, 20)) * (1.2 + torch.sin(6 * time))
    features, frames = model.front_end(0.05 * wave[None] + 1e-4 * torch.randn(1, 32_000), torch.tensor([32_000]))
    altered, _, in_band = alter(features, frames, Alteration(mask_proportion=0.0, mask_frequency=0.3))
    assert in_band.any()
    with torch.no_grad():
        restored = head(model.encoder(altered, frames)[-1])
    assert (restored - features)[in_band].abs().mean() < 0.9 * features[in_band].abs().mean()
