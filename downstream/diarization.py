"""Who speaks when: the head, its permutation-invariant loss, frame labels, and from activities to turns to the error rate.

Shape letters: B batch, F frames, D features, S speakers (two).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from corpus.errors import DataError

if TYPE_CHECKING:
    from lhotse.cut import Cut

SAMPLE_RATE = 16_000
SPEAKERS = 2

ORDERS = tuple(permutations(range(SPEAKERS)))

Activities = tuple[Tensor, Tensor]
"""Logits (B, F, S) and valid frames (B,)."""


class RecurrentDiarizer(nn.Module):
    """A unidirectional LSTM and a linear layer to one logit a speaker and frame.

    Source: SUPERB's SD head (Yang et al., 2021); s3prl downstream/diarization/model.py.

    Args:
        dim: features a frame.
        pooling: frames averaged into one before the LSTM, whose outputs are repeated: 1 is the published head.
    """

    def __init__(self, dim: int, *, hidden: int, layers: int, pooling: int = 1) -> None:
        super().__init__()
        self.pooling = pooling
        self.lstm = nn.LSTM(dim, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, SPEAKERS)

    def forward(self, features: Tensor, lengths: Tensor) -> Activities:
        """Features (B, F, D) with `lengths` (B,) to logits (B, F, S) and the same lengths."""
        logits = self.output(self.lstm(self._pool(features, lengths))[0])
        if self.pooling > 1:
            logits = logits.repeat_interleave(self.pooling, 1)[:, : features.shape[1]]
        return logits, lengths

    def _pool(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, F, D) to the means over valid frames (B, ceil(F / pooling), D)."""
        if self.pooling == 1:
            return features
        batch, frames, dim = features.shape
        valid = torch.arange(frames, device=features.device)[None, :, None] < lengths[:, None, None]
        rest = (0, 0, 0, -frames % self.pooling)
        sums = F.pad(features.masked_fill(~valid, 0.0), rest).reshape(batch, -1, self.pooling, dim).sum(2)
        counts = F.pad(valid.to(features.dtype), rest).reshape(batch, -1, self.pooling, 1).sum(2)
        return sums / counts.clamp(min=1)


def permutation_invariant_loss(output: Activities, labels: Sequence[np.ndarray]) -> Tensor:
    """Binary cross-entropy a frame, mean over speakers, under the order of speakers that suits each utterance best.

    The outputs are matched to their labels frame by frame (`matching_frames`). Source: SUPERB's SD; s3prl
    downstream/diarization/utils.py, pit_loss.

    Args:
        labels: B arrays (frames, S), 0 or 1.
    Returns: the sum over all valid frames by their number.
    """
    logits, lengths = output
    frames = max(len(label) for label in labels)
    chosen, target, valid = np.zeros((len(labels), frames), int), np.zeros((len(labels), frames, SPEAKERS)), np.zeros((len(labels), frames))
    for row, (label, length) in enumerate(zip(labels, lengths.tolist(), strict=True)):
        chosen[row, : len(label)] = matching_frames(length, len(label))
        target[row, : len(label)] = label
        valid[row, : len(label)] = 1
    index = torch.from_numpy(chosen).to(logits.device)[..., None].expand(-1, -1, SPEAKERS)
    matched = logits.float().gather(1, index)
    targets, mask = torch.from_numpy(target).to(matched), torch.from_numpy(valid).to(matched)
    sums = [
        (F.binary_cross_entropy_with_logits(matched, targets[..., list(order)], reduction="none").mean(-1) * mask).sum(1)
        for order in ORDERS
    ]
    return torch.stack(sums).min(0).values.sum() / mask.sum()


def matching_frames(available: int, wanted: int) -> np.ndarray:
    """Which of `available` frames stands for each of `wanted` ones, (wanted,) int.

    Each is repeated where there are about twice (three times, …) as many labels; then what is too much is cut off, or the last
    one goes on. Source: s3prl downstream/diarization/expert.py.
    """
    factor = max(1, round(wanted / available))
    return np.minimum(np.arange(wanted) // factor, available - 1)


class Turn(NamedTuple):
    """A stretch of one speaker, in seconds."""

    speaker: str
    start: float
    end: float


def write_turns(turns: Iterable[Turn]) -> str:
    """Turns as text, in order of time and to the millisecond: ``A 0.000-1.250; B 0.800-2.100``."""
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))
    return "; ".join(f"{turn.speaker} {turn.start:.3f}-{turn.end:.3f}" for turn in ordered)


def read_turns(text: str) -> list[Turn]:
    """What `write_turns` wrote. Raises ValueError where the text is not of that form."""
    turns = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        speaker, _, times = part.rpartition(" ")
        start, _, end = times.partition("-")
        turn = Turn(speaker.strip(), float(start), float(end))
        if not turn.speaker or not 0 <= turn.start < turn.end < float("inf"):
            raise ValueError(f"{part!r} is no turn")
        turns.append(turn)
    return turns


def turns_of(cut: Cut) -> list[Turn]:
    """The turns that a cut carries as supervisions, relative to its start."""
    return [Turn(turn.speaker, turn.start, turn.end) for turn in cut.supervisions]


def with_turns(cut: Cut) -> Cut:
    """A cut of a manifest with its column `turns` as supervisions. Raises DataError where that cannot be read."""
    from lhotse import SupervisionSegment
    from lhotse.utils import fastcopy

    try:
        turns = read_turns(str(cut.supervisions[0].custom["turns"]))
    except ValueError as error:
        form = "A 0.00-1.25; B 0.80-2.10"
        raise DataError(f"{cut.id}, column turns: {error}; who speaks from when to when (s) is written as {form!r}") from None
    segments = [
        SupervisionSegment(f"{cut.id}-{index:04}", cut.recording.id, turn.start, round(turn.end - turn.start, 8), speaker=turn.speaker)
        for index, turn in enumerate(turns)
    ]
    return fastcopy(cut, supervisions=segments)


def frame_labels(turns: Iterable[Turn], frames: int, stride: int, *, spanning: bool = True) -> np.ndarray:
    """Who speaks in each frame: (frames, S) float32, 0 or 1, speakers in the order of their names.

    Args:
        turns: relative to the first frame; they may begin before it and end after the last one.
        stride: samples between frames.
        spanning: label a turn that begins before the first frame and ends after the last one. The benchmark does not.
    Raises: ValueError: there are more than two speakers.
    """
    turns = list(turns)
    speakers = sorted({turn.speaker for turn in turns})
    if len(speakers) > SPEAKERS:
        raise ValueError(f"{len(speakers)} speakers ({', '.join(speakers)})")
    labels = np.zeros((frames, SPEAKERS), np.float32)
    for turn in turns:
        start, end = (int(np.rint(round(seconds * SAMPLE_RATE, 3) / stride)) for seconds in (turn.start, turn.end))
        if spanning or start >= 0 or end <= frames:
            labels[max(0, start) : max(0, end), speakers.index(turn.speaker)] = 1
    return labels


def correct_cells(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """How many of the cells of `labels` (F, S) thresholding at 0.5 gives, in the order of speakers of the lowest cross-entropy."""
    likely = np.clip(probabilities, 1e-7, 1 - 1e-7)
    present, absent = np.log(likely), np.log1p(-likely)
    orders = [labels[:, list(order)] for order in ORDERS]
    best = max(orders, key=lambda label: float((label * present + (1 - label) * absent).sum()))
    return int(((probabilities > 0.5) == (best > 0.5)).sum())


@dataclass(frozen=True)
class Mixture:
    """A mixture put together of its chunks.

    Attributes:
        probabilities: (F, S), chunk after chunk.
        reference: its turns.
        correct: cells in which the chunks agree with their labels.
    """

    probabilities: np.ndarray
    reference: list[Turn]
    correct: int


def join_chunks(chunks: Iterable[tuple[Cut, np.ndarray, np.ndarray]]) -> dict[str, Mixture]:
    """Mixtures by id, of their chunks as they come: the order of speakers may change from one to the next.

    Args:
        chunks: a cut that may name its `mixture`, probabilities (F', S), and labels (F, S), to which they are matched.
    """
    parts: defaultdict[str, list[tuple[Cut, np.ndarray, np.ndarray]]] = defaultdict(list)
    for cut, probabilities, labels in chunks:
        matched = probabilities[matching_frames(len(probabilities), len(labels))]
        parts[(cut.custom or {}).get("mixture", cut.id)].append((cut, matched, labels))
    mixtures = {}
    for mixture_id, own in parts.items():
        own.sort(key=lambda part: part[0].start)
        correct = sum(correct_cells(probabilities, labels) for _, probabilities, labels in own)
        mixtures[mixture_id] = Mixture(np.concatenate([probabilities for _, probabilities, _ in own]), turns_of(own[0][0]), correct)
    return mixtures


@dataclass(frozen=True)
class Smoothing:
    """From probabilities to turns.

    Attributes:
        threshold: a speaker speaks where the probability is above it.
        median: length of the median filter over frames, odd; 1 for none.
    """

    threshold: float = 0.5
    median: int = 11


SETTINGS = tuple(Smoothing(threshold, median) for median in (1, 11) for threshold in (0.3, 0.4, 0.5, 0.6, 0.7))
"""Those that SUPERB tries; s3prl downstream/diarization/score.sh."""


def find_turns(probabilities: np.ndarray, smoothing: Smoothing, stride: int) -> list[Turn]:
    """The turns of speakers "1" and "2" in probabilities (F, S), to the hundredth of a second."""
    active, half = (probabilities > smoothing.threshold).astype(int), smoothing.median // 2
    turns: list[Turn] = []
    for speaker in range(SPEAKERS):
        row = active[:, speaker]
        if half:  # the median of zeros and ones is their majority; silence before and after
            row = (np.convolve(row, np.ones(smoothing.median, int))[half : half + len(row)] > half).astype(int)
        times = np.round(np.flatnonzero(np.diff(row, prepend=0, append=0)) * stride / SAMPLE_RATE, 2).tolist()
        turns += [Turn(str(speaker + 1), start, end) for start, end in zip(times[::2], times[1::2], strict=True) if end > start]
    return turns


@dataclass(frozen=True)
class Errors:
    """Seconds of speech missed, of false alarms and of confused speakers, and of reference speech, overlap counted twice."""

    missed: float
    false_alarm: float
    confusion: float
    speech: float

    @property
    def total(self) -> float:
        return self.missed + self.false_alarm + self.confusion


def diarization_errors(reference: Sequence[Turn], hypothesis: Sequence[Turn], collar: float = 0.0) -> Errors:
    """The parts of the diarization error of one recording, exactly (no frames), overlapping speech included.

    Speakers are matched one to one so that they share the most scored time. Source: NIST, Rich Transcription evaluation plan
    (2009), as md-eval and dscore compute it.

    Args:
        collar: seconds before and after each beginning and end of a reference turn that are not scored.
    """
    boundaries = [time for turn in reference for time in (turn.start, turn.end)]
    edges = np.unique(
        [
            *(time + shift for time in boundaries for shift in {-collar, 0.0, collar}),
            *(time for turn in hypothesis for time in (turn.start, turn.end)),
        ]
    )
    if len(edges) < 2:
        return Errors(0.0, 0.0, 0.0, 0.0)
    seconds = np.diff(edges)
    if collar:
        near = np.abs((edges[:-1, None] + edges[1:, None]) / 2 - np.array(boundaries)[None]) < collar
        seconds = np.where(near.any(1), 0.0, seconds)
    said, heard = _active(reference, edges), _active(hypothesis, edges)
    shared = (said * seconds) @ heard.T
    correct = float(shared[linear_sum_assignment(shared, maximize=True)].sum())
    many_said, many_heard = said.sum(0), heard.sum(0)
    return Errors(
        missed=float(np.maximum(many_said - many_heard, 0) @ seconds),
        false_alarm=float(np.maximum(many_heard - many_said, 0) @ seconds),
        confusion=max(0.0, float(np.minimum(many_said, many_heard) @ seconds) - correct),
        speech=float(many_said @ seconds),
    )


def _active(turns: Sequence[Turn], edges: np.ndarray) -> np.ndarray:
    """Who speaks between each two of `edges`, which hold all times of the turns: (speakers, edges - 1), 0 or 1."""
    speakers = sorted({turn.speaker for turn in turns})
    active = np.zeros((len(speakers), len(edges) - 1))
    begins, ends = (np.searchsorted(edges, times) for times in ([turn.start for turn in turns], [turn.end for turn in turns]))
    for turn, begin, end in zip(turns, begins, ends, strict=True):
        active[speakers.index(turn.speaker), begin:end] = 1
    return active


def best_smoothing(mixtures: Iterable[Mixture], stride: int, collar: float) -> Smoothing:
    """Of `SETTINGS`, the one of the lowest error rate over mixtures; the first of equals."""
    known = [(mixture.reference, mixture.probabilities) for mixture in mixtures]

    def rate(smoothing: Smoothing) -> float:
        errors = [diarization_errors(reference, find_turns(found, smoothing, stride), collar) for reference, found in known]
        return sum(error.total for error in errors) / max(sum(error.speech for error in errors), 1e-9)

    return min(SETTINGS, key=rate)
