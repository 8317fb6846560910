"""Heads: torch's packed sequences as the reference, the benchmark's sizes, and padding that never shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from downstream.heads import BidirectionalLSTM, LinearCTC, RecurrentCTC, Subsampling

SUPERB = {"projection": 1024, "hidden": 1024, "layers": 2, "dropout": 0.2}
SMALL = {"projection": 12, "hidden": 10, "layers": 2, "dropout": 0.2}


def packed(size: int, hidden: int, ours: BidirectionalLSTM) -> nn.LSTM:
    """Torch's own bidirectional LSTM with the same weights."""
    lstm = nn.LSTM(size, hidden, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, parameter in ours.forwards.named_parameters():
            getattr(lstm, name).copy_(parameter)
        for name, parameter in ours.backwards.named_parameters():
            getattr(lstm, f"{name}_reverse").copy_(parameter)
    return lstm


def run_packed(lstm: nn.LSTM, x: Tensor, lengths: Tensor) -> Tensor:
    sequence = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(sequence)[0], batch_first=True, total_length=x.shape[1])[0]


@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 4, 1), (1, 9, 5), (3, 2, 5)])
def test_bidirectional_lstm_equals_torchs_over_packed_sequences(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = BidirectionalLSTM(6, 5)
    theirs, sizes = packed(6, 5, ours), torch.tensor(lengths)
    x = torch.randn(3, 9, 6)
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    outputs = ours(mine, sizes), run_packed(theirs, its, sizes)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-6)
    target = torch.randn(3, 9, 10)
    for output in outputs:
        (output * target).sum().backward()
    torch.testing.assert_close(mine.grad, its.grad, rtol=1e-5, atol=1e-6)
    for name, parameter in theirs.named_parameters():
        own = getattr(ours.backwards, name.removesuffix("_reverse")) if name.endswith("_reverse") else getattr(ours.forwards, name)
        torch.testing.assert_close(own.grad, parameter.grad, rtol=1e-5, atol=1e-6)


def test_superbs_head_has_exactly_its_published_size() -> None:
    """42,828,832 for D = 768: superb_tasks.md, section 16, from s3prl's own class."""
    with torch.device("meta"):
        head = RecurrentCTC(768, 320, 32, **SUPERB)
    assert sum(parameter.numel() for parameter in head.parameters()) == 42_828_832


def naive(head: RecurrentCTC, features: Tensor) -> Tensor:
    """SUPERB's order of operations on one utterance (F, D) without dropout: superb_tasks.md, 4.3."""
    x = head.projection(features[None])
    for layer in head.layers:
        assert isinstance(layer, BidirectionalLSTM)
        x = packed(x.shape[2], layer.forwards.hidden_size, layer)(x)[0]
    return head.output(x)[0]


OPTIONS: list[dict[str, Any]] = [{}, {"total_rate": 640, "sample_style": "concat"}, {"total_rate": 640, "sample_style": "drop"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_padding_and_neighbours_do_not_change_valid_logits(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    head = RecurrentCTC(7, 160, 32, **SMALL, **options).eval()
    lengths = [17, 12, 9, 4, 3, 1]
    rows = [torch.randn(length, 7) for length in lengths]
    together, sizes = head(nn.utils.rnn.pad_sequence([*rows, torch.randn(23, 7)], batch_first=True), torch.tensor([*lengths, 23]))
    for index, row in enumerate(rows):
        alone, size = head(row[None], torch.tensor([len(row)]))
        assert sizes[index] == size[0] == alone.shape[1]
        torch.testing.assert_close(together[index, : size[0]], alone[0], rtol=1e-5, atol=1e-6)


def test_head_equals_superbs_order_of_operations() -> None:
    torch.manual_seed(0)
    head, features = RecurrentCTC(7, 160, 32, **SMALL).eval(), torch.randn(11, 7)
    torch.testing.assert_close(head(features[None], torch.tensor([11]))[0][0], naive(head, features), rtol=1e-5, atol=1e-6)


def test_dropout_follows_every_lstm_layer_and_only_while_training() -> None:
    head, features, lengths = RecurrentCTC(7, 160, 32, **SMALL), torch.randn(1, 11, 7), torch.tensor([11])
    seen: list[float] = []
    head.dropout.register_forward_hook(lambda module, inputs, output: seen.append(float((output == 0).float().mean())))
    head.train()(features, lengths)
    assert len(seen) == 2 and all(0.05 < share < 0.4 for share in seen)
    assert torch.equal(head.eval()(features, lengths)[0], head(features, lengths)[0])


@pytest.mark.parametrize(
    "stride, rate, style, frames, expected",
    [
        (160, -1, "concat", [8, 5], [8, 5]),
        (160, 640, "concat", [8, 5, 4, 3, 1], [2, 1, 1, 1, 1]),  # 640 / 160 = 4 frames a stack, an incomplete last one left out
        (160, 640, "drop", [8, 5, 4, 1], [2, 2, 1, 1]),  # frames 0, 4, 8, …
        (320, 640, "concat", [9, 2], [4, 1]),
        (640, 320, "concat", [9, 2], [9, 2]),  # slower encoders stay as they are
    ],
)
def test_frames_are_stacked_or_dropped_to_the_rate(stride: int, rate: int, style: Any, frames: list[int], expected: list[int]) -> None:
    head = RecurrentCTC(3, stride, 32, **SMALL, total_rate=rate, sample_style=style)
    logits, lengths = head(torch.randn(len(frames), max(frames), 3), torch.tensor(frames))
    assert lengths.tolist() == expected
    assert logits.shape == (len(frames), max(expected), 32)


def test_stacked_frames_lie_side_by_side_in_time() -> None:
    features, lengths = Subsampling(160, 320, "concat")(torch.arange(10.0).view(1, 5, 2), torch.tensor([5]))
    assert features.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]] and lengths.tolist() == [2]


def test_the_linear_head_has_superbs_size_and_sees_single_frames() -> None:
    """215,882 for D = 768 and 74 symbols: superb_tasks.md, section 16."""
    head = LinearCTC(768, 320, 74, projection=256)
    assert sum(parameter.numel() for parameter in head.parameters()) == 215_882
    features, lengths = torch.randn(2, 5, 768), torch.tensor([5, 3])
    logits, sizes = head(features, lengths)
    assert logits.shape == (2, 5, 74) and sizes.tolist() == [5, 3]
    torch.testing.assert_close(head(features[1:, 2:3], torch.tensor([1]))[0][0, 0], logits[1, 2])
    flat = head.output.weight @ head.projection.weight  # no activation: one matrix says the same
    bias = head.output.weight @ head.projection.bias + head.output.bias
    torch.testing.assert_close(logits, features @ flat.T + bias, rtol=1e-4, atol=1e-4)


def test_the_linear_head_stacks_frames_where_asked() -> None:
    logits, sizes = LinearCTC(7, 160, 74, projection=256, total_rate=640)(torch.randn(2, 9, 7), torch.tensor([9, 5]))
    assert logits.shape == (2, 2, 74) and sizes.tolist() == [2, 1]
