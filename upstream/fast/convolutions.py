"""The convolutional front end on one utterance, as matmuls over (frames, channels).

Beside `upstream.layers.convolutions`, whose modules give the weights. Shape letters: T samples, F frames, C channels.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upstream.fast.linear import Linear
from upstream.layers.convolutions import Convolution, Convolutions, frames_of, receptive_field, stride_of

CHUNK = {"cpu": 64}  # frames that leave the front end together: their activations, 64 times as many at first, stay in the cache
LONG_CHUNK = 4096  # elsewhere
WINDOWS = 65_536  # counted together in float64


class FrontEnd:
    """Frames (F, C) of a waveform (T,), computed chunk by chunk in memory that does not grow with T.

    Args:
        plain: the convolutions; the statistics of a group norm are taken over the utterance.
        dtype: the precision of activations and weights.
    """

    def __init__(self, plain: Convolutions, dtype: torch.dtype) -> None:
        self.sizes, self.dtype = plain.sizes, dtype
        self.stride = stride_of(self.sizes)
        layers = [layer for layer in plain.layers if isinstance(layer, Convolution)]
        norm = layers[0].norm
        self.group_norm = GroupNorm(layers[0].conv, norm) if isinstance(norm, nn.GroupNorm) else None
        self.layers = [
            Windows(layer.conv.weight, layer.conv.bias, layer.conv.stride[0], dtype, layer.norm)
            for layer in (layers if self.group_norm is None else layers[1:])
        ]

    def __call__(self, wav: Tensor) -> Tensor:
        """Frames (F, C) of a waveform (T,) float32."""
        layers = self.layers
        if self.group_norm is not None:
            wav, weight, bias = self.group_norm.folded(wav)
            layers = [Windows(weight, bias, self.group_norm.stride, self.dtype), *layers]
        samples = wav.to(self.dtype)[:, None]
        total, chunk = frames_of(len(wav), self.sizes), CHUNK.get(wav.device.type, LONG_CHUNK)
        frames = samples.new_empty(total, self.sizes[-1][0])
        for start in range(0, total, chunk):
            end = min(start + chunk, total)
            x = samples[start * self.stride : (end - 1) * self.stride + receptive_field(self.sizes)]
            for layer in layers:
                x = layer(x)
            frames[start:end] = x
        return frames


class Windows:
    """A convolution (C_out, C_in, kernel) as a matmul of windows, its norm over channels if any, and GELU."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype, norm: nn.Module | None = None) -> None:
        self.stride, self.kernel = stride, weight.shape[2]
        self.norm = None if norm is None else copy.deepcopy(norm).to(dtype)
        self.linear = Linear(weight.transpose(1, 2).flatten(1), bias, dtype, "gelu" if norm is None else None)

    def __call__(self, x: Tensor) -> Tensor:
        """Map contiguous x (F_in, C_in) to (F, C_out)."""
        frames, channels = (len(x) - self.kernel) // self.stride + 1, x.shape[1]
        windows = x.as_strided((frames, self.kernel * channels), (self.stride * channels, 1)).contiguous()
        y = self.linear(windows)
        return y if self.norm is None else F.gelu(self.norm(y))


class GroupNorm:
    """The first convolution's group norm (one channel a group), folded into its weight and bias.

    The convolution is linear in one window of samples, so the mean and the variance of its output over time follow from the mean
    and the covariance of the windows; its own bias cancels.
    """

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm) -> None:
        self.kernel, self.stride, self.eps = convolution.kernel_size[0], convolution.stride[0], norm.eps
        self.weight = convolution.weight.detach()[:, 0].double()  # (C, kernel)
        self.scale, self.shift = norm.weight.detach().double(), norm.bias.detach().double()

    def folded(self, wav: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The waveform (T,) without its mean, which the norm would take out, and the weight (C, 1, kernel) and bias (C,) for it."""
        exact = wav.double()
        exact = exact - exact.mean()
        windows = exact.unfold(0, self.kernel, self.stride)
        mean = windows.mean(0)
        covariance = torch.zeros_like(mean[:, None] * mean)
        for block in windows.split(WINDOWS):
            block = block - mean
            covariance.addmm_(block.T, block, alpha=1 / len(windows))
        variance = ((self.weight @ covariance) * self.weight).sum(1).clamp(min=0)
        factor = self.scale / (variance + self.eps).sqrt()
        return exact.to(wav.dtype), (self.weight * factor[:, None])[:, None], self.shift - self.weight @ mean * factor
