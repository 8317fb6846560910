"""Small inputs for the tests of `corpus`: tones on disk, cuts without audio, a LibriSpeech of a few files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording, SupervisionSegment
from lhotse.cut import MonoCut

NUMBERS = ("one", "two", "three", "four")


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """(samples,) float32, half of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_tone(path: Path, seconds: float = 0.5, rate: int = 16_000, channels: int = 1, subtype: str | None = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([tone(seconds, rate)] * channels, axis=1), rate, subtype=subtype)
    return path


def streamed_flac(path: Path) -> Path:
    """Strike the number of samples from a FLAC header, as an encoder leaves it that writes into a pipe."""
    content = bytearray(path.read_bytes())
    field = slice(18, 26)  # rate, channels, bits and, in the last 36 bits, samples
    kept = int.from_bytes(content[field], "big") >> 36 << 36
    content[field] = kept.to_bytes(8, "big")
    path.write_bytes(content)
    return path


def cut(utt_id: str, seconds: float, path: Path | None = None, text: str = "A") -> MonoCut:
    """A whole-file cut of so many seconds; without a path there is no audio behind it."""
    samples = round(seconds * 16_000)
    sources = [] if path is None else Recording.from_file(path).sources
    recording = Recording(utt_id, sources, 16_000, samples, samples / 16_000, channel_ids=[0])
    supervision = SupervisionSegment(utt_id, utt_id, 0.0, recording.duration, text=text, speaker="s")
    return MonoCut(utt_id, 0.0, recording.duration, 0, supervisions=[supervision], recording=recording)


def cuts(count: int, seed: int = 0, longest: float = 16.0) -> list[MonoCut]:
    """Cuts of random lengths from 1 s."""
    seconds = np.random.default_rng(seed).uniform(1.0, longest, count)
    return [cut(f"utt-{index:04d}", float(length)) for index, length in enumerate(seconds)]


def librispeech(root: Path, split: str = "dev-clean", speakers: Sequence[str] = ("19", "26"), utterances: int = 3) -> Path:
    """A split in LibriSpeech's layout; transcripts are in lower case to show that readers raise them."""
    for speaker in speakers:
        chapter = root / split / speaker / "495"
        lines = []
        for index in range(utterances):
            utt_id = f"{speaker}-495-{index:04d}"
            write_tone(chapter / f"{utt_id}.flac", 0.2 + 0.1 * index)
            lines.append(f"{utt_id} word number {NUMBERS[index]}\n")
        (chapter / f"{speaker}-495.trans.txt").write_text("".join(lines))
    return root
