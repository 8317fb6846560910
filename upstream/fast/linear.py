"""Linear maps in their fastest form on this machine: oneDNN's packed weights where they pay, otherwise `F.linear`.

oneDNN is reached by two private calls of PyTorch, those that the code of `torch.compile` uses. They are looked up, compared with
`F.linear` and timed once a machine, precision and number of threads; where one of the three fails, `F.linear` serves.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from upstream.fast.choice import once
from upstream.layers.options import ACTIVATIONS

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # packed against F.linear, relative to the largest value
TRIAL = (384, 768, 1536)  # rows, inputs, outputs of the trial: of the encoders' shapes
REPEATS = 20  # the answer is kept: a busy moment should not decide it


class Linear:
    """A linear map with its activation, whose result for a row does not depend on how many rows there are.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,) or None.
        dtype: the precision of input, weight and output.
        activation: None or a name of `ACTIVATIONS`; GELU is part of the packed call.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str | None = None) -> None:
        weight = weight.detach().to(dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.activation = activation
        self.is_packed = weight.device.type == "cpu" and packing_pays(dtype, torch.get_num_threads())
        self.weight = pack(weight) if self.is_packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (rows, inputs) to (rows, outputs)."""
        missing = fewest_rows() - len(x)
        return self._map(x) if missing <= 0 else self._map(F.pad(x, (0, 0, 0, missing)))[: len(x)]

    def _map(self, x: Tensor) -> Tensor:
        if self.is_packed:
            y = multiply(x, self.weight, self.bias, gelu=self.activation == "gelu")
        else:
            y = F.linear(x, self.weight, self.bias)
        if self.activation is None or (self.is_packed and self.activation == "gelu"):
            return y
        return ACTIVATIONS[self.activation](y)


def fewest_rows() -> int:
    """Rows below which libraries sum in another order: fewer are filled up, so that an utterance of one frame is no exception.

    Measured with MKL and oneDNN: the last such number of rows is 1 to 3 with one thread, 11 with two.
    """
    return 8 * (torch.get_num_threads() + 1)


def pack(weight: Tensor) -> Tensor:
    """A weight (outputs, inputs) in oneDNN's blocked layout."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, TRIAL[0])


def multiply(x: Tensor, packed: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """The linear map of x (rows, inputs) by a packed weight, with GELU (erf) when asked for."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, *(("gelu", [], "none") if gelu else ("none", [], "")))


@functools.cache
def packing_pays(dtype: torch.dtype, threads: int) -> bool:
    """Whether packed weights exist, are right and are faster than `F.linear` with so many threads: some 0.2 s, once a machine."""
    return once(f"packed linear maps, {dtype}, {threads} threads", lambda: _trial(dtype))


def _trial(dtype: torch.dtype) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows, inputs, outputs = TRIAL
    x = torch.randn(rows, inputs, generator=generator).to(dtype)
    weight = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).to(dtype)
    bias = torch.randn(outputs, generator=generator).to(dtype)
    with torch.no_grad():
        try:
            packed = pack(weight)
            difference = multiply(x, packed, bias, gelu=True).float() - F.gelu(F.linear(x, weight, bias)).float()
        except (AttributeError, RuntimeError, TypeError):  # a build without oneDNN, a CPU it does not serve, another signature
            return False
        if not float(difference.abs().max()) < TOLERANCE[dtype] * float(x.abs().max()):
            return False
        ours, plain = seconds(lambda: multiply(x, packed, bias, gelu=False), lambda: F.linear(x, weight, bias))
    return ours < plain


def seconds(*calls: Callable[[], object]) -> list[float]:
    """The least time of each call, taken in turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, taken in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            taken.append(time.perf_counter() - begin)
    return [min(taken) for taken in times]
