"""SpecAugment: what it masks, what it leaves, and that draws are keyed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.config import SpecAug
from engine.randomness import seed_all
from engine.specaug import SpecAugment, _rescaled

LENGTHS = torch.tensor([120, 64, 11, 9, 3])
OFF = {"apply_time_warp": False, "apply_freq_mask": False, "apply_time_mask": False}


def features(dim: int = 24) -> Tensor:
    """Positive values, zero past each length: what is zero afterwards was masked."""
    values = 1.0 + torch.rand(len(LENGTHS), 120, dim, generator=torch.Generator().manual_seed(0))
    return values * (torch.arange(120) < LENGTHS[:, None])[..., None]


def augment(dim: int = 24, mask_padded: bool = False, seed: int = 0, **options: Any) -> Tensor:
    seed_all(seed, "test")
    return SpecAugment(SpecAug(**(OFF | options)), dim, mask_padded).train()(features(dim), LENGTHS)


def runs(mask: Tensor) -> list[tuple[int, int]]:
    """Start and width of each run of True."""
    edges = torch.diff(F.pad(mask.int(), (1, 1))).nonzero().flatten().tolist()
    return [(edges[place], edges[place + 1] - edges[place]) for place in range(0, len(edges), 2)]


def test_evaluation_leaves_everything_untouched() -> None:
    module = SpecAugment(SpecAug(), 24, True).eval()
    state = torch.random.get_rng_state()
    assert torch.equal(module(features(), LENGTHS), features())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("mask_padded", [True, False])
def test_shapes_stay_and_padded_frames_stay_zero(mask_padded: bool) -> None:
    for seed in range(20):
        on = {"apply_time_warp": True, "apply_freq_mask": True, "apply_time_mask": True, "time_mask_width_range": (0, 40)}
        found = augment(mask_padded=mask_padded, seed=seed, **on)
        assert found.shape == (5, 120, 24) and bool(torch.isfinite(found).all())
        assert not found[torch.arange(120) >= LENGTHS[:, None]].any()


def test_frequency_masks_are_whole_bands_of_the_widths_asked_for_and_differ_by_utterance() -> None:
    widths, counts, patterns = set(), set(), set()
    for seed in range(60):
        found = augment(apply_freq_mask=True, freq_mask_width_range=(2, 5), num_freq_mask=2, seed=seed)
        for row, length in zip(found, LENGTHS.tolist(), strict=True):
            masked = (row[:length] == 0).all(0)
            assert torch.equal((row[:length] == 0).any(0), masked)  # a band is masked in every frame
            bands = runs(masked)
            widths.update(width for _, width in bands if len(bands) == 2)
            counts.add(len(bands))
            patterns.add(tuple(bands))
    assert widths == {2, 3, 4}  # the upper end is exclusive, as s3prl's
    assert counts == {1, 2} and len(patterns) > 100


def test_time_masks_are_whole_frames_within_the_utterance() -> None:
    masked_short = 0
    for seed in range(60):
        found = augment(apply_time_mask=True, time_mask_width_range=(3, 9), num_time_mask=2, seed=seed)
        for row, length in zip(found, LENGTHS.tolist(), strict=True):
            masked = (row[:length] == 0).all(1)
            assert torch.equal((row[:length] == 0).any(1), masked)
            bands = runs(masked)
            assert 1 <= len(bands) <= 2 and int(masked.sum()) <= 16
            if len(bands) == 2 and length > 30:
                assert all(3 <= width <= 8 for _, width in bands)
            masked_short += length == 64 and len(bands) > 0
    assert masked_short == 60  # within its own length every utterance gets its masks


def test_superb_places_time_masks_over_the_padded_length() -> None:
    """Short utterances are then often spared: superb_tasks.md 2.3."""
    spared = sum(
        bool((augment(True and 24, True, seed, apply_time_mask=True, time_mask_width_range=(3, 9), num_time_mask=1)[3, :9] != 0).all())
        for seed in range(60)
    )
    assert 40 < spared < 60  # 9 of 120 frames: about one in ten is hit


def test_number_of_masks_zero_masks_nothing() -> None:
    found = augment(apply_freq_mask=True, num_freq_mask=0, apply_time_mask=True, num_time_mask=0)
    assert torch.equal(found, features())


def test_same_key_gives_the_same_draws_and_another_key_others() -> None:
    on = {"apply_time_warp": True, "apply_freq_mask": True, "apply_time_mask": True}
    assert torch.equal(augment(seed=1, **on), augment(seed=1, **on))
    assert not torch.equal(augment(seed=1, **on), augment(seed=2, **on))


def test_frequency_widths_scale_with_the_features() -> None:
    config = SpecAug(freq_mask_width_range=(0, 50), freq_mask_scale_dim=768)
    assert SpecAugment(config, 768, True).freq_widths == (0, 50)
    assert SpecAugment(config, 192, True).freq_widths == (0, 12)  # 50 × 192 / 768 = 12.5, half to even
    assert SpecAugment(config, 8, True).freq_widths == (0, 1)  # [0, 1): nothing is masked where nothing would be left
    assert SpecAugment(SpecAug(freq_mask_width_range=(0, 50)), 192, True).freq_widths == (0, 50)


@pytest.mark.parametrize("length, centre, target", [(30, 12, 15), (30, 12, 8), (30, 5, 1), (30, 24, 29), (17, 6, 6)])
def test_warped_parts_have_the_values_of_torchs_bicubic_resizing(length: int, centre: int, target: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 34, 6)

    def resized(part: Tensor, size: int) -> Tensor:
        return F.interpolate(part[None, None], size=(size, 6), mode="bicubic", align_corners=False)[0, 0]

    expected = torch.cat([resized(x[0, :centre], target), resized(x[0, centre:length], length - target)])
    found = _rescaled(x, torch.tensor([length]), torch.tensor([centre]), torch.tensor([target]))
    torch.testing.assert_close(found[0, :length], expected, rtol=1e-4, atol=1e-5)


def test_warp_moves_frames_by_at_most_the_window_and_leaves_short_utterances() -> None:
    """On a ramp the warped value says which frame was read."""
    ramp = torch.arange(120.0)[None, :, None].expand(5, 120, 3) * (torch.arange(120) < LENGTHS[:, None])[..., None]
    moved = 0.0
    for seed in range(40):
        seed_all(seed, "test")
        found = SpecAugment(SpecAug(**(OFF | {"apply_time_warp": True, "time_warp_window": 5})), 3, True).train()(ramp, LENGTHS)
        shift = (found - ramp).abs().amax(dim=(1, 2))
        assert float(shift.max()) <= 6.0
        assert torch.equal(found[3:], ramp[3:])  # 9 and 3 frames are at most two windows
        moved = max(moved, float(shift[0]))
    assert moved > 3.0
