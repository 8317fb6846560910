"""TERA's objective: the alterations as published, the loss as s3prl's, and what is ours beside them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import pretrain.tera as objective
from pretrain.tera import OFFSETS, Alteration, Corruption, Reconstruction, TeraModel, alter, corrupt, random_crop
from tests.upstream import make as encoders
from upstream.tera import TransformerConfig, sinusoids

LENGTHS = torch.tensor([100, 80, 60])


def features(frames: int = 100, dim: int = 80, lengths: Tensor = LENGTHS) -> Tensor:
    """Every value tells its frame and bin; zero past each length."""
    values = 1.0 + torch.arange(frames)[:, None] + torch.arange(dim) / 1000.0
    return values.expand(len(lengths), -1, -1) * (torch.arange(frames) < lengths[:, None])[..., None]


def draws(count: int, dim: int = 80, **options: object) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    x, config = features(dim=dim), Alteration(**options)
    for _ in range(count):
        yield alter(x, LENGTHS, config)


def test_time_spans_take_thirteen_to_fourteen_percent_of_whole_frames_and_never_the_last() -> None:
    """tera.md 1.4: with overlap allowed 13 to 14 % are selected, not 15; starts end at n - w - 1."""
    selected, frames, first, furthest = 0, 0, False, 0
    for _, in_time, _ in draws(200, 2, mask_frequency=0.0):
        assert torch.equal(in_time.any(2), in_time.all(2))  # all bins of a frame
        for row, length in zip(in_time[..., 0], LENGTHS.tolist(), strict=True):
            assert not row[length - 1 :].any()
            first, furthest = first or bool(row[0]), max(furthest, int(row.nonzero().max()) + 2 - length)
            selected, frames = selected + int(row.sum()), frames + length
    assert 0.12 < selected / frames < 0.145
    assert first and furthest == 0  # both ends of the range are reached


def test_spans_have_the_widths_and_number_asked_for() -> None:
    """Without overlap: round(0.15 × 300 / w) spans of w frames on a grid of round(1.5 w), in an utterance of 300."""
    torch.manual_seed(0)
    config = Alteration(mask_consecutive_min=4, mask_consecutive_max=8, mask_allow_overlap=False)
    found = set()
    for _ in range(80):
        starts, width = objective._spans(300, config)
        assert len(starts) == round(0.15 * 300 / width) and len(set(starts.tolist())) == len(starts)
        gaps = torch.diff(starts.sort().values)
        assert bool((gaps % round(1.5 * width) == 0).all()) and int(starts.max()) <= 300 - width - 1
        found.add(width)
    assert found == {4, 5, 6, 7, 8}


def test_each_utterance_is_zeroed_replaced_or_left_as_a_whole_in_eight_one_and_one_of_ten() -> None:
    seen = {"zeroed": 0, "replaced": 0, "left": 0}
    original = features(dim=2)
    for altered, in_time, _ in draws(400, 2, mask_frequency=0.0):
        for row in range(3):
            mask = in_time[row, :, 0]
            before, after = original[row, mask], altered[row, mask]
            assert torch.equal(altered[row, ~mask], original[row, ~mask])
            if not after.any():
                seen["zeroed"] += 1
            elif torch.equal(before, after):
                seen["left"] += 1
            else:
                seen["replaced"] += 1
                sources = after[:, 0].sub(1).round().long()  # the value tells the frame it was copied from
                assert bool((after == original[row, sources]).all()) and int(sources.max()) < LENGTHS[row]
    total = sum(seen.values())
    assert total == 1200
    for name, share in (("zeroed", 0.8), ("replaced", 0.1), ("left", 0.1)):
        assert abs(seen[name] / total - share) < 4 * (share * (1 - share) / total) ** 0.5, seen


def test_one_band_of_up_to_a_fifth_of_the_bins_is_zeroed_on_valid_frames() -> None:
    widths, original = [], features()
    for altered, _, in_band in draws(150, mask_proportion=0.0):
        for row, length in zip(range(3), LENGTHS.tolist(), strict=True):
            band = in_band[row, 0]
            assert torch.equal(in_band[row, :length], band.expand(length, -1)) and not in_band[row, length:].any()
            width = int(band.sum())
            if width:
                start = int(band.nonzero()[0])
                assert bool(band[start : start + width].all()) and not altered[row, :, band].any()
            assert torch.equal(altered[row], original[row] * ~band)
            widths.append(width)
    assert set(widths) == set(range(17))  # 0 to int(0.2 × 80), both ends
    assert 7.0 < sum(widths) / len(widths) < 9.0


def test_noise_falls_on_whole_batches_with_deviation_a_fifth() -> None:
    noisy, original = 0, features()
    for altered, in_time, in_band in draws(200, mask_proportion=0.0, mask_frequency=0.0, noise_proportion=0.25):
        noise = altered - original
        if noise.any():
            noisy += 1
            assert float(noise[2, 60:].std()) == pytest.approx(0.2, rel=0.05)  # padding included
        assert not in_time.any() and not in_band.any()  # what is scored does not change
    assert 30 < noisy < 72


def test_alteration_leaves_its_input_alone_and_is_keyed() -> None:
    x = features()
    torch.manual_seed(1)
    one = alter(x, LENGTHS, Alteration())
    assert torch.equal(x, features())
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(one, alter(x, LENGTHS, Alteration()), strict=True))


def test_very_short_utterances_are_never_marked_behind_their_end() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([2, 5, 8, 24])
    for share in (0.15, 0.6, 1.0):
        for _ in range(30):
            _, in_time, in_band = alter(features(24, 80, lengths), lengths, Alteration(mask_proportion=share))
            for row, length in enumerate(lengths.tolist()):
                assert not in_time[row, length:].any() and not in_band[row, length:].any()


SMALL = TransformerConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=160)


def test_loss_equals_s3prls_on_the_same_alteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """tera.md 5.2, step 5: its own alteration, encoder, head and masked L1, with our weights."""
    from s3prl.pretrain.mockingjay.task import generate_masked_acoustic_model_data
    from s3prl.upstream.mockingjay.model import TransformerConfig as PeerConfig
    from s3prl.upstream.mockingjay.model import TransformerModel, TransformerSpecPredictionHead

    from upstream.formats.tera import to_published

    module = Reconstruction(TeraModel(transformer=SMALL)).eval()
    encoders.perturbed(module.tera), encoders.perturbed(module.head, seed=1)
    published = encoders.published_config()
    config = PeerConfig(copy.deepcopy(published["transformer"]))
    encoder, head = TransformerModel(config, input_dim=80).eval(), TransformerSpecPredictionHead(config, 80).eval()
    encoder.load_state_dict(to_published(module.tera.config, module.tera.encoder.state_dict()))
    head.load_state_dict({name.replace("norm", "LayerNorm"): tensor for name, tensor in module.head.state_dict().items()})
    wavs, lengths = encoders.waveforms(48_000, 30_000, 20_000)
    clean, frames = module.tera.front_end(wavs, lengths)
    task = Alteration().model_dump() | {"position_encoding_size": 64}
    random.seed(0)
    torch.manual_seed(0)
    altered, positions, labels, attention, target = generate_masked_acoustic_model_data((clean.clone(),), task)
    with torch.no_grad():
        state = encoder(altered, positions.expand(3, -1, -1), attention, output_all_encoded_layers=False)
        expected = torch.nn.L1Loss()(head(state)[0].masked_select(labels), target.masked_select(labels))
        monkeypatch.setattr(objective, "alter", lambda *given: (altered, labels, torch.zeros_like(labels)))
        found, _ = module(wavs, lengths)
    assert attention.sum(1).tolist() == frames.tolist()
    assert float(found) == pytest.approx(float(expected), rel=2e-6)


def test_loss_is_the_mean_absolute_error_over_altered_positions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Reconstruction(TeraModel(transformer=SMALL)).eval()
    wavs, lengths = encoders.waveforms(16_000, 9_000)
    clean, frames = module.tera.front_end(wavs, lengths)
    in_time, in_band = torch.zeros(2, *clean.shape, dtype=torch.bool)
    in_time[0, 3:9], in_band[1, :50, 10:15], in_time[1, 4] = True, True, True
    monkeypatch.setattr(objective, "alter", lambda *given: (clean * ~in_time, in_time, in_band))
    with torch.no_grad():
        guess = module.head(module.tera.encoder(clean * ~in_time, frames)[-1])
        loss, measures = module(wavs, lengths)
    errors = [float((guess - clean).abs()[row, frame, bin]) for row, frame, bin in (in_time | in_band).nonzero().tolist()]
    assert float(loss) == pytest.approx(sum(errors) / len(errors), rel=1e-5)
    assert measures["band"] == pytest.approx(float((guess - clean).abs()[in_band & ~in_time].mean()), rel=1e-5)


def test_batch_without_anything_altered_gives_a_loss_of_zero_that_can_be_trained_on() -> None:
    module = Reconstruction(TeraModel(transformer=SMALL, task=Alteration(mask_frequency=0.0)))
    loss, _ = module(*encoders.waveforms(2_000, 1_500))  # 12 frames: round(0.15 × 12 / 7) = 0 spans
    loss.backward()
    assert float(loss.detach()) == 0.0 and not module.head.output.weight.grad.any()


def test_target_is_clean_where_the_input_is_corrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Reconstruction(TeraModel(transformer=SMALL, corruption=Corruption(noise=1.0, snr_db=(0, 0)))).eval()
    seen = []
    monkeypatch.setattr(objective, "alter", lambda x, n, c: (seen.append(x), alter(x, n, c))[1])
    wavs, lengths = encoders.waveforms(16_000)
    module(wavs, lengths)
    clean = module.target(wavs, lengths)[0]
    assert float((seen[0] - clean).abs().mean()) > 0.1


def test_crops_are_parts_of_the_utterance_from_every_place() -> None:
    wavs, lengths = torch.arange(3.0, 103.0).repeat(2, 1), torch.tensor([100, 30])
    starts = set()
    for seed in range(300):
        torch.manual_seed(seed)
        cropped, sizes = random_crop(wavs, lengths, 40)
        assert sizes.tolist() == [40, 30] and cropped.shape == (2, 40)
        assert torch.equal(cropped[0], cropped[0, 0] + torch.arange(40.0)) and torch.equal(cropped[1, :30], wavs[1, :30])
        starts.add(int(cropped[0, 0]) - 3)
    assert min(starts) == 0 and max(starts) == 60
    assert random_crop(wavs, lengths, 0)[0] is wavs


def test_corruption_keeps_lengths_and_levels() -> None:
    torch.manual_seed(0)
    wavs = torch.randn(6, 12_345) * torch.tensor([1.0, 0.3, 0.1, 0.03, 0.01, 0.001])[:, None]
    noisy = corrupt(wavs, Corruption(noise=1.0, snr_db=(10, 10)))
    assert noisy.shape == wavs.shape
    ratio = 10 * torch.log10(wavs.square().mean(1) / (noisy - wavs).square().mean(1))
    torch.testing.assert_close(ratio, torch.full((6,), 10.0), rtol=0, atol=0.05)
    assert corrupt(wavs, Corruption()) is wavs


def test_low_pass_takes_away_what_lies_above_and_nothing_below() -> None:
    torch.manual_seed(0)
    time = torch.arange(16_000) / 16_000
    low, high = torch.sin(2 * torch.pi * 1000 * time), torch.sin(2 * torch.pi * 5000 * time)
    found = corrupt((low + high)[None], Corruption(lowpass=1.0, lowpass_hz=(3500, 3600)))
    torch.testing.assert_close(found[0], low, rtol=0, atol=3e-3)


def test_corruption_falls_on_as_many_utterances_as_asked() -> None:
    torch.manual_seed(0)
    wavs = torch.randn(400, 800)
    changed = (corrupt(wavs, Corruption(noise=0.25)) - wavs).abs().amax(1) > 1e-4
    assert 70 < int(changed.sum()) < 130


def test_local_initialisation_attends_at_its_offsets() -> None:
    """On the positions alone, the score of (frame, frame + shift) averaged over frames peaks at the head's offset."""
    torch.manual_seed(0)
    config = TransformerConfig(hidden_size=192, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256)
    module = Reconstruction(TeraModel(transformer=config, initialisation="local"))
    positions = sinusoids(200, 192)
    for layer, expected in zip(module.tera.encoder.transformer.layers, OFFSETS, strict=True):
        query, key, _ = (positions @ layer.attention.qkv.weight.detach().T).view(200, 3, 4, 48).permute(1, 2, 0, 3)  # type: ignore[union-attr]
        scores = query @ key.transpose(1, 2)
        for head, offset in enumerate(expected):
            mean = {shift: float(scores[head].diagonal(shift).mean()) for shift in range(-25, 26)}
            assert max(mean, key=mean.__getitem__) == offset


def test_published_initialisation_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    module = Reconstruction(TeraModel(transformer=SMALL))
    assert float(module.tera.encoder.transformer.layers[0].attention.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)  # type: ignore[union-attr]
