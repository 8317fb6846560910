"""Measures an encoder for its padding certificate: what changes valid frames, whether it is what it declares, and what it costs.

Shape letters: B batch, T samples, F frames, D features, L hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from upstream.base import Padding, Representation, Upstream
from upstream.certificate import REPEATED, Certificate, Effect
from upstream.errors import UpstreamError

LONGER = (25_601, 0, 47_237, 11_111)  # samples beyond the shortest utterance; no multiples of a stride, up to 3 s
COPIES = 8
COST_SECONDS = 8.0
FRAMES_TOLERANCE = 1  # between two lengths: some encoders round their number of frames
LONGEST_MINIMUM = 60  # seconds
EFFECTS = "measuring padding, neighbours, order and batch size"


def measure(make: Callable[[Padding], Upstream], weights: str, say: Callable[[str], object] = str) -> Certificate:
    """Measure an encoder.

    Args:
        make: builds it with this padding.
        weights: which ones, in words.
        say: is told of every stage when it begins.

    Raises:
        UpstreamError: it declares what is not so, naming both values.
    """
    say("building the encoder")
    upstream = build(make, "alone")
    say("checking what it declares")
    check_declared(upstream)
    say("counting what it computes")
    macs, used = cost(upstream, COST_SECONDS)
    say(EFFECTS)
    certificate = Certificate(
        name=upstream.name,
        weights=weights,
        dim=upstream.dim,
        num_states=upstream.num_states,
        stride=upstream.stride,
        sample_rate=upstream.sample_rate,
        minimum_samples=upstream.minimum_samples,
        parameters=sum(parameter.numel() for parameter in upstream.parameters()),
        parameters_used=used,
        macs=macs / COST_SECONDS,
        macs_seconds=COST_SECONDS,
        notes=upstream.notes,
        alone=effects(upstream),
    )
    del upstream  # large ones need not fit twice
    published = build(make, "reference")
    if published.padding != "reference":
        return certificate
    say(f"{EFFECTS}, with padding as in the published code")
    return replace(certificate, reference=effects(published))


def build(make: Callable[[Padding], Upstream], padding: Padding) -> Upstream:
    """The encoder in evaluation mode; random weights are the same in every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(padding).eval()


def speech_like(samples: int, seed: int) -> Tensor:
    """A waveform (T,): noise that moves between dull and bright, loud and soft, about four times a second; the same in every call."""
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    dull = 3 * F.avg_pool1d(noise[None], kernel_size=9, stride=1, padding=4)[0]
    seconds = torch.arange(samples) / Upstream.sample_rate
    brightness = 0.5 + 0.5 * torch.sin(2 * math.pi * 2.3 * seconds + seed)
    loudness = 0.01 + 0.1 * torch.sin(2 * math.pi * 1.9 * seconds + 0.7 * seed).square()
    return loudness * (brightness * noise + (1 - brightness) * dull)


@torch.no_grad()
def encode(upstream: Upstream, wavs: Sequence[Tensor], samples: int | None = None, padding: float = 0.0) -> Representation:
    """Encode utterances (T,) as one batch of `samples`, by default those of the longest, filled up with the value `padding`."""
    batch = torch.full((len(wavs), samples or max(map(len, wavs))), padding)
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    return upstream(batch, torch.tensor([len(wav) for wav in wavs]))


def effects(upstream: Upstream) -> tuple[Effect, ...]:
    """What padding, neighbours, batch size and order change in the valid frames of utterances between the shortest and 3 s more."""
    wavs = [speech_like(upstream.minimum_samples + longer, seed) for seed, longer in enumerate(LONGER)]

    def states(wavs: Sequence[Tensor], samples: int | None = None, padding: float = 0.0) -> list[Tensor]:
        made = encode(upstream, wavs, samples, padding)
        return [made.hidden_states[:, row, :frames] for row, frames in enumerate(made.lengths.tolist())]

    alone = [state for wav in wavs for state in states([wav])]
    batch = states(wavs)
    return (
        effect(REPEATED, batch, states(wavs)),
        effect("zeros to twice its length", alone, [state for wav in wavs for state in states([wav], 2 * len(wav))]),
        effect("longer and shorter neighbours", alone, batch),
        effect("NaN in place of zeros as padding", batch, states(wavs, padding=math.nan)),
        effect("another order of the batch", batch, states(wavs[::-1])[::-1]),
        effect(f"a batch of {COPIES} copies", alone[:1] * COPIES, states(wavs[:1] * COPIES)),
    )


def effect(what: str, expected: Sequence[Tensor], found: Sequence[Tensor]) -> Effect:
    """Compare the valid states (L, F, D) of utterances, over the frames that both have."""
    pairs = list(zip(expected, found, strict=True))
    difference, state = max((worst_difference(*pair) for pair in pairs), key=lambda worst: worst[0])
    return Effect(what, difference, state, max(abs(a.shape[1] - b.shape[1]) for a, b in pairs))


def worst_difference(expected: Tensor, found: Tensor) -> tuple[float, int]:
    """The largest difference of states (L, F, D) relative to the state's largest value, and in which state it is."""
    frames = min(expected.shape[1], found.shape[1])
    expected, found = expected[:, :frames].flatten(1), found[:, :frames].flatten(1)
    same = (expected == found) | (expected.isnan() & found.isnan())  # what is not a number alone either was not changed
    differences = (found - expected).abs().masked_fill(same, 0.0).amax(1)
    largest = expected.nan_to_num(0.0).abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    relative = (differences / largest).nan_to_num(math.inf, posinf=math.inf)
    return float(relative.max()), int(relative.argmax())


def check_declared(upstream: Upstream) -> None:
    """Refuse an encoder whose constants are not what it does.

    Raises:
        UpstreamError: naming each declared value and the measured one.
    """
    least = shortest(upstream)
    length = least + upstream.sample_rate
    made = encode(upstream, [speech_like(length, 0), speech_like(least, 1)])
    if made.hidden_states.ndim != 4:
        raise UpstreamError(f"{upstream.name}: hidden states have shape {tuple(made.hidden_states.shape)}, expected (L, B, F, D)")
    found = {
        "num_states": len(made.hidden_states),
        "dim": made.hidden_states.shape[-1],
        "stride": stride(upstream, length),
        "minimum_samples": least,
    }
    problems = [
        f"{name} is declared as {getattr(upstream, name)}, but measured as {value}"
        for name, value in found.items()
        if getattr(upstream, name) != value
    ]
    if made.hidden_states[:, 1, int(made.lengths[1]) :].any():
        problems.append("frames past an utterance's length are not zero")
    if problems:
        raise UpstreamError(f"{upstream.name}: {'; '.join(problems)}")


def stride(upstream: Upstream, length: int) -> int:
    """Samples a frame, by the frames of an utterance of `length` and of one some two seconds longer."""
    expected = max(2 * upstream.sample_rate // upstream.stride, 1)
    more = expected * upstream.stride
    shorter, longer = (int(encode(upstream, [speech_like(samples, 0)]).lengths) for samples in (length, length + more))
    if abs(longer - shorter - expected) <= FRAMES_TOLERANCE:
        return upstream.stride
    return round(more / max(longer - shorter, 1))


def shortest(upstream: Upstream) -> int:
    """The fewest samples that make a frame; the declared number where one sample fewer is refused.

    Raises:
        UpstreamError: nothing up to a minute is encoded.
    """
    declared = upstream.minimum_samples
    if encodes(upstream, declared) and not encodes(upstream, declared - 1):
        return declared
    most, refused = max(declared, 1), 0
    while not encodes(upstream, most):
        most, refused = 2 * most, most
        if most > LONGEST_MINIMUM * upstream.sample_rate:
            raise UpstreamError(f"{upstream.name}: encodes no utterance up to {LONGEST_MINIMUM} s; minimum_samples is {declared}")
    while most - refused > 1:
        middle = (most + refused) // 2
        most, refused = (middle, refused) if encodes(upstream, middle) else (most, middle)
    return most


def encodes(upstream: Upstream, samples: int) -> bool:
    """Whether an utterance of so many samples gives a frame."""
    try:
        return samples > 0 and int(encode(upstream, [speech_like(samples, 0)]).lengths) > 0
    except Exception:  # noqa: BLE001 - what too short an utterance raises is what an undeclared minimum looks like
        return False


@torch.no_grad()
def cost(upstream: Upstream, seconds: float) -> tuple[float, int]:
    """Multiply-adds of the forward of one utterance of so many seconds, and how many parameters it reads.

    Counted are matrix products (attention's too) and convolutions, by PyTorch's own counter on a real forward, on any device, `meta`
    included.
    """
    device = next((parameter.device for parameter in upstream.parameters()), torch.device("cpu"))
    wav = speech_like(round(seconds * upstream.sample_rate), 0).to(device)[None]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: lstm_flops})
    reads = Reads(upstream)
    with countable(), counter, reads:
        upstream(wav, torch.tensor([wav.shape[1]]))
    return counter.get_total_flops() / 2, reads.parameters


def lstm_flops(x: Sequence[int], inputs: Sequence[int], states: Sequence[int], *rest: Any, **options: Any) -> int:
    """Operations of one fused LSTM layer, which PyTorch's counter does not know, by the shapes of its input and of its two weights."""
    steps, batch = x[:2]
    return 2 * steps * batch * (math.prod(inputs) + math.prod(states))


@contextmanager
def countable() -> Iterator[None]:
    """Switch off the fused attention and transformer layers of the CPU, which PyTorch's counter does not know."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class Reads(TorchDispatchMode):
    """Notes which parameters of a module any operation reads."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.sizes = {id(parameter): parameter.numel() for parameter in module.parameters()}
        self.seen: set[int] = set()

    @property
    def parameters(self) -> int:
        """How many numbers they hold together."""
        return sum(self.sizes[key] for key in self.seen)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation as it is."""
        self.seen |= self.sizes.keys() & set(map(id, tree_leaves((args, kwargs))))
        return func(*args, **(kwargs or {}))
