"""A padding certificate: what was measured of one encoder, how it reads, and as plain values. Imports no PyTorch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

THRESHOLD = 1e-5
"""The largest change of a valid frame, relative to its state's largest value, that is float error: a shared batch may be computed by
other kernels than a single utterance."""

REPEATED = "the same again"


@dataclass(frozen=True)
class Effect:
    """How much one change around an utterance changes its valid frames.

    Attributes:
        what: the change.
        difference: largest absolute difference over valid frames, relative to the state's largest value in that utterance; the worst
            utterance of the worst hidden state. Infinite where a state stops being finite.
        state: that hidden state, from 0.
        frames: the largest change in an utterance's number of frames.
    """

    what: str
    difference: float
    state: int
    frames: int

    @property
    def matters(self) -> bool:
        """Whether it is more than float error."""
        return self.difference > THRESHOLD or self.frames > 0


@dataclass(frozen=True)
class Certificate:
    """One encoder, measured in float32 on the CPU, in evaluation mode.

    Attributes:
        name: registered name.
        weights: which ones, in words.
        dim: features a frame.
        num_states: hidden states.
        stride: samples a frame.
        sample_rate: Hz.
        minimum_samples: the shortest utterance that is encoded; one sample fewer is refused.
        parameters: all that the encoder holds.
        parameters_used: those that its forward reads.
        macs: multiply-adds a second of audio in matrix products and convolutions; FFTs, norms and activations are not counted.
        macs_seconds: length of the utterance that was counted on; attention costs more a second the longer it is.
        notes: what the encoder says of its weights.
        alone: effects with padding `alone`.
        reference: effects with padding `reference`; None where the encoder has one behaviour only.
    """

    name: str
    weights: str
    dim: int
    num_states: int
    stride: int
    sample_rate: int
    minimum_samples: int
    parameters: int
    parameters_used: int
    macs: float
    macs_seconds: float
    notes: tuple[str, ...]
    alone: tuple[Effect, ...]
    reference: tuple[Effect, ...] | None = None

    def as_json(self) -> str:
        """The certificate for programs, with threshold and verdicts; an infinite difference is null."""
        values: dict[str, Any] = asdict(self) | {"threshold": THRESHOLD, "verdicts": dict(self._verdicts())}
        for effect in [*values["alone"], *(values["reference"] or ())]:
            effect["difference"] = effect["difference"] if math.isfinite(effect["difference"]) else None
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """What `as_json` wrote."""
        values = json.loads(text)
        del values["threshold"], values["verdicts"]
        reference = values.pop("reference")
        values |= {"notes": tuple(values["notes"]), "alone": _effects(values["alone"])}
        return cls(**values, reference=None if reference is None else _effects(reference))

    def lines(self) -> list[tuple[str, str]]:
        """What there is to say, each line with its heading; for a table."""
        stride, shortest = (f"{round(1000 * samples / self.sample_rate, 1):g} ms" for samples in (self.stride, self.minimum_samples))
        lines = [
            ("measured weights", self.weights),
            ("hidden states", f"{self.num_states} of {self.dim} features"),
            ("stride", f"{self.stride} samples: {stride}, {self.sample_rate / self.stride:g} frames a second"),
            ("shortest utterance", f"{self.minimum_samples} samples: {shortest}; {self.minimum_samples - 1} are refused"),
            ("parameters", f"{in_short(self.parameters)}, of which the forward reads {in_short(self.parameters_used)}"),
            ("compute", f"{in_short(self.macs, 'MAC')} a second of audio, in an utterance of {self.macs_seconds:g} s"),
        ]
        lines += [("note", note) for note in self.notes]
        lines += [(f"padding: {padding}", said) for padding, said in self._verdicts()]
        return [*lines, *self._effect_lines()]

    def table(self) -> str:
        """The lines, aligned, under the encoder's name."""
        lines = [("upstream", self.name), *self.lines()]
        width = max(len(heading) for heading, _ in lines)
        return "\n".join(f"{heading:<{width}}  {text}" for heading, text in lines)

    def _verdicts(self) -> list[tuple[str, str]]:
        if self.reference is None:
            return [("alone", verdict(self.alone)), ("reference", "as alone: this encoder has no other behaviour")]
        return [("alone", verdict(self.alone)), ("reference", verdict(self.reference, published=True))]

    def _effect_lines(self) -> list[tuple[str, str]]:
        columns = [("alone", self.alone)] + ([("reference", self.reference)] if self.reference else [])
        width = max(len(_cell(effect)) for _, effects in columns for effect in effects)
        title = "  ".join(f"{padding:<{width}}" for padding, _ in columns).rstrip()
        lines = [
            ("largest changes", f"of a valid frame, relative to its state's largest value; up to {THRESHOLD:g} is float error"),
            ("  by", title),
        ]
        for row in zip(*(effects for _, effects in columns), strict=True):
            lines.append((f"  {row[0].what}", "  ".join(f"{_cell(effect):<{width}}" for effect in row).rstrip()))
        return lines


def _effects(values: Sequence[Mapping[str, Any]]) -> tuple[Effect, ...]:
    return tuple(Effect(**{**value, "difference": math.inf if value["difference"] is None else value["difference"]}) for value in values)


def verdict(effects: Sequence[Effect], published: bool = False) -> str:
    """One sentence: whether an utterance's states are its own.

    Args:
        effects: what was measured.
        published: whether this is the behaviour of the published code, to be reproduced and not to be mended.
    """
    for effect in effects:
        if effect.what == REPEATED and effect.matters:
            return f"not deterministic: the same batch again differs by {_amount(effect.difference)}"
    worst = max(effect.difference for effect in effects)
    if not any(effect.matters for effect in effects):
        return f"padding, neighbours and batch size change nothing (worst {_amount(worst)})"
    frames = max(effect.frames for effect in effects)
    changed = [f"up to {_amount(worst)}"] if worst else []
    changed += [f"{frames} frame{'s'[: frames > 1]} more or fewer"] if frames else []
    return f"depends on its batch: {' and '.join(changed)} ({'published behaviour' if published else 'an error: alone must not'})"


def _cell(effect: Effect) -> str:
    if not effect.difference and not effect.frames:
        return "nothing"
    frames = f", {effect.frames} frame{'s'[: effect.frames > 1]}" if effect.frames else ""
    return f"{_amount(effect.difference)} in state {effect.state}{frames}"


def _amount(difference: float) -> str:
    """A relative difference with as many figures as matter: 4e-07, 0.31."""
    if math.isinf(difference):
        return "values that are not finite"
    return f"{difference:.{1 if difference < THRESHOLD else 2}g}"


def in_short(number: float, unit: str = "") -> str:
    """Three figures and a multiple of the unit: 94.4 M, 7.31 GMAC."""
    for multiple, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {multiple}{unit}"
    return f"{number:.3g} {unit}".rstrip()
