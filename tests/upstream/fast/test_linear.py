"""Packed linear maps: checked before use, replaced where they are absent or wrong, and equal for a row however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.upstream import make
from upstream.fast import linear
from upstream.fast.linear import Linear, packing_pays

DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No choice of one test reaches another."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path))
    packing_pays.cache_clear()
    yield
    packing_pays.cache_clear()


def choose(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """Make the time trial end as wanted."""
    monkeypatch.setattr(linear, "seconds", lambda *calls: [0.0, 1.0] if packed else [1.0, 0.0])


def weights(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """A weight and a bias."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs, inputs, generator=generator) / inputs**0.5, torch.randn(outputs, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs"), [(10, 64), (64, 24), (3072, 96), (1600, 200)])
def test_a_row_does_not_know_how_many_there_are(
    inputs: int, outputs: int, dtype: torch.dtype, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, packed)
    made = Linear(*weights(inputs, outputs), dtype, "gelu")
    x = torch.randn(700, inputs, generator=torch.Generator().manual_seed(1)).to(dtype)
    expected = made(x)
    for rows in (*range(1, 40), 63, 64, 65, 129, 400, 513):
        assert torch.equal(made(x[:rows]), expected[:rows])
        assert torch.equal(made(x[37 : 37 + rows]), expected[37 : 37 + rows])


@torch.no_grad()
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("activation", [None, "gelu", "relu"])
def test_both_forms_are_the_linear_map_and_its_activation(packed: bool, activation: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed)
    weight, bias = weights(768, 96)
    x = torch.randn(50, 768, generator=torch.Generator().manual_seed(1))
    expected = F.linear(x.double(), weight.double(), bias.double())
    if activation is not None:
        expected = getattr(F, activation)(expected)
    assert make.relative_error(Linear(weight, bias, torch.float32, activation)(x).double(), expected) < 2e-6


def broken(error: type[Exception]) -> Callable[..., Tensor]:
    """A call that fails."""

    def fail(*arguments: object, **options: object) -> Tensor:
        raise error("not here")

    return fail


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_absent_calls_leave_the_plain_map(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed=True)
    monkeypatch.setattr(linear, "pack", broken(error))
    weight, bias = weights(64, 32)
    made = Linear(weight, bias, torch.float32)
    assert not made.is_packed
    x = torch.randn(40, 64)
    assert torch.equal(made(x), F.linear(x, weight, bias))


@pytest.mark.parametrize("wrong", [0.999, float("nan")])
def test_calls_that_give_other_numbers_are_not_used(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed=True)
    true = linear.multiply
    monkeypatch.setattr(linear, "multiply", lambda *arguments, gelu: true(*arguments, gelu=gelu) * wrong)
    assert not packing_pays(torch.float32, torch.get_num_threads())


def test_calls_that_are_slower_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed=False)
    assert not packing_pays(torch.float32, torch.get_num_threads())


@pytest.mark.parametrize("packed", [True, False])
def test_what_was_measured_first_holds_for_every_later_process(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed)
    first = packing_pays(torch.float32, 1)
    packing_pays.cache_clear()
    monkeypatch.setattr(linear, "seconds", lambda *calls: pytest.fail("measured again"))
    assert packing_pays(torch.float32, 1) is first is packed


def test_shared_weights_are_not_copied_where_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, packed=False)
    weight, bias = weights(64, 32)
    assert Linear(weight, bias, torch.float32).weight.data_ptr() == weight.data_ptr()
