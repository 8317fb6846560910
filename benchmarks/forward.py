"""How fast HuBERT Base's forward is beside transformers, torchaudio and s3prl: python benchmarks/forward.py [--json FILE]

All have the same random weights. Speed is seconds of audio encoded a second (x RT), from the least and from the median time of the
rounds; the share of the peak is of the machine's own GEMM in that precision. The difference is the largest relative one of a layer's
output from that of the utterance alone in fp32 (transformers, else the plain forward): a peer that pads shows its padding there.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import _hubert
import _machine
import torch
from _hubert import Encoder
from _machine import Row, Times
from torch import Tensor

from upstream.base import Precision
from upstream.fast.frozen import DTYPES
from upstream.layers.convolutions import frames_of
from upstream.wav2vec2 import Wav2Vec2
from upstream.wav2vec2_config import Wav2Vec2Config

RATE = 16_000
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
GROUPS = {"equal": "equal lengths, each at its best batch", "mixed": "mixed lengths, the peer's padded together"}
HEADS = ("encoder", "utterances", "x RT min", "x RT median", "share of peak", "difference")


@dataclass(frozen=True)
class Case:
    """Utterances of these seconds, encoded in batches of so many; `group` is `equal`, `mixed` or `single`."""

    name: str
    group: str
    seconds: tuple[float, ...]
    batch: int

    def wavs(self) -> list[Tensor]:
        """Noise (T,) of these lengths."""
        generator = torch.Generator().manual_seed(0)
        return [0.1 * torch.randn(int(seconds * RATE), generator=generator) for seconds in self.seconds]


def cases(quick: bool) -> list[Case]:
    """Equal lengths in two sizes of batch, mixed lengths together, and the same one at a time."""
    mixed = (1.0, 2.0, 3.0) if quick else (1.0, 6.0, 11.0, 16.0)
    long = 2.0 if quick else 8.0
    return [
        Case(f"1 x {long:g} s", "equal", (long,), 1),
        Case(f"4 x {long:g} s", "equal", (long,) * 4, 4),
        Case(f"{mixed[0]:g} to {mixed[-1]:g} s together", "mixed", mixed, len(mixed)),
        Case(f"{mixed[0]:g} to {mixed[-1]:g} s one by one", "single", mixed, 1),
    ]


def operations(config: Wav2Vec2Config, samples: int) -> float:
    """Floating-point operations of one utterance: two for each multiplication."""
    total, inputs = 0.0, 1
    for depth, (channels, kernel, _) in enumerate(config.conv_layers, start=1):
        total += frames_of(samples, config.conv_layers[:depth]) * inputs * channels * kernel
        inputs = channels
    frames, dim, shape = frames_of(samples, config.conv_layers), config.dim, config.positional_convolution
    assert shape is not None
    total += frames * (inputs * dim + shape.depth * shape.kernel * dim * dim / shape.groups)
    total += config.layers * frames * (4 * dim * dim + 2 * dim * config.ffn_dim + 2 * frames * dim)
    return 2 * total


class Comparison:
    """All encoders in one precision on all cases: ours packed, ours plain, then the peers."""

    def __init__(self, model: Wav2Vec2, precision: Precision, encoders: Sequence[Encoder]) -> None:
        self.model, self.precision, self.encoders = model, precision, encoders

    def run(self, encoder: Encoder, case: Case, wavs: Sequence[Tensor]) -> list[Tensor]:
        """What the encoder returns for each batch."""
        lower = torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" and encoder.autocast else contextlib.nullcontext()
        with torch.no_grad(), lower:
            return [encoder.forward(wavs[start : start + case.batch]) for start in range(0, len(wavs), case.batch)]

    def times(self, wanted: Sequence[Case], rounds: int) -> dict[tuple[str, Case], Times]:
        """Every encoder on every case, in turns."""
        variants: dict[tuple[str, Case], Callable[[], object]] = {}
        for case in wanted:
            wavs = case.wavs()
            for encoder in self.encoders:
                variants[encoder.name, case] = lambda e=encoder, c=case, w=wavs: self.run(e, c, w)  # type: ignore[misc]
        return _machine.interleaved(variants, rounds)

    def frames(self, case: Case) -> list[int]:
        """Valid frames of each utterance."""
        return [frames_of(int(seconds * RATE), self.model.config.conv_layers) for seconds in case.seconds]

    @torch.no_grad()
    def expected(self, case: Case) -> list[Tensor]:
        """The layers' outputs (L - 1, F, D) of each utterance alone in fp32."""
        reference = self.encoders[min(2, len(self.encoders) - 1)]
        made = [reference.states(reference.forward([wav]), [count])[0] for wav, count in zip(case.wavs(), self.frames(case), strict=True)]
        return [states[-self.model.config.layers :] for states in made]

    def difference(self, encoder: Encoder, case: Case, expected: Sequence[Tensor]) -> float:
        """The largest relative difference of a layer's output of an utterance."""
        worst, frames = 0.0, self.frames(case)
        for index, made in enumerate(self.run(encoder, case, case.wavs())):
            batch = slice(index * case.batch, (index + 1) * case.batch)
            for own, right in zip(encoder.states(made, frames[batch]), expected[batch], strict=True):
                error = torch.linalg.vector_norm(own[-len(right) :].float() - right, dim=(1, 2))
                worst = max(worst, float((error / torch.linalg.vector_norm(right, dim=(1, 2))).max()))
        return worst

    def lines(self, wanted: Sequence[Case], times: dict[tuple[str, Case], Times], peak: float) -> list[list[str]]:
        """The table's rows; `peak` in GFLOP/s."""
        rows = []
        for case in wanted:
            work = sum(operations(self.model.config, int(seconds * RATE)) for seconds in case.seconds)
            expected = self.expected(case)
            for encoder in self.encoders:
                taken = times[encoder.name, case]
                share = work / taken.min / (peak * 1e9)
                speeds = [f"{sum(case.seconds) / seconds:.1f}" for seconds in (taken.min, taken.median)]
                rows.append([encoder.name, case.name, *speeds, f"{share:.0%}", f"{self.difference(encoder, case, expected):.1e}"])
        return rows

    def ratios(self, wanted: Sequence[Case], times: dict[tuple[str, Case], Times]) -> list[Row]:
        """Ours against the fastest peer (where none is installed: our plain forward), equal and mixed lengths."""
        rows = []
        for group, words in GROUPS.items():
            speeds = {
                encoder.name: max(sum(case.seconds) / times[encoder.name, case].min for case in wanted if case.group == group)
                for encoder in self.encoders
            }
            own = speeds.pop(self.encoders[0].name)
            fastest = max(list(speeds)[1:] or speeds, key=lambda name: speeds[name])
            what = f"HuBERT Base forward, {self.precision}, {words} ({fastest})"
            peer = speeds[fastest]
            rows.append(Row(f"forward-{self.precision}-{group}", what, round(own, 2), round(peer, 2), "x RT", round(own / peer, 2)))
        return rows


def main() -> None:
    """Time, print and write."""
    args = _machine.parser("HuBERT Base's forward beside transformers, torchaudio and s3prl.").parse_args()
    machine, versions = _machine.start(args)
    model = _hubert.random_model()
    others = [_hubert.plain(model)]
    with tempfile.TemporaryDirectory() as folder:
        for found in _hubert.peers(model, Path(folder)):
            if isinstance(found, str):
                print(found)
            else:
                others.append(found)
    wanted, rows = cases(args.quick), []
    for precision in PRECISIONS:
        comparison = Comparison(model, precision, [_hubert.packed(model, precision), *others])
        times = comparison.times(wanted, args.rounds)
        peak = max(machine[f"gemm_{precision}_gflops"], round(_machine.peak(DTYPES[precision])))
        machine[f"gemm_{precision}_gflops"] = peak
        print(f"\n{precision}, GEMM peak {peak} GFLOP/s\n" + _machine.table(HEADS, comparison.lines(wanted, times, peak)), flush=True)
        rows += comparison.ratios(wanted, times)
    _machine.finish(args, "forward", machine, versions, rows)


if __name__ == "__main__":
    main()
