"""Audio files to mono float32 samples at 16 kHz, with an error that names the file whatever is wrong with it."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from corpus.errors import DataError

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE = 16_000
"""Hz, of everything that an upstream hears."""

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64")
"""What counts as audio when a folder is searched; a file named by itself may have any suffix."""

SLACK = 0.01
"""Seconds by which a segment may reach past the end of its file: manifests round their times."""

STREAMED_WAV = 0x7FFF_0000
"""Bytes of data from which on the header of a WAV file says nothing: it was streamed, its size not known yet. So does 0."""

STREAMED_FLAC = 1 << 62
"""Frames from which on libsndfile means that the header of a FLAC file has none, for the same reason; it cannot seek in such a file."""


def read_audio(path: Path | str, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """Mono samples of a file or of a part of it, at 16 kHz; channels are averaged.

    Args:
        path: anything libsndfile reads (wav, flac, ogg, mp3, …), at any rate.
        start: seconds from the beginning of the file.
        duration: seconds; None reads to the end.
    Returns: (samples,) float32.
    Raises:
        DataError: the file is missing, empty, not audio, cut short, without samples, or holds NaN or infinite samples; or the
            part lies outside it.
    """
    samples, rate = _decode(Path(path), start, duration)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(mono).all():
        bad = int(np.flatnonzero(~np.isfinite(mono))[0])
        raise DataError(f"{path}: sample {bad} is {mono[bad]}; decode the file again or leave it out")
    return np.ascontiguousarray(resample(mono, rate))


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples (T,) float32 at `rate` Hz brought to 16 kHz: (ceil(T * 16000 / rate),) float32; band-limited interpolation."""
    if rate == SAMPLE_RATE:
        return samples
    import torch

    with torch.inference_mode():
        return _resampler(rate)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()


def audio_files(paths: Iterable[Path | str]) -> list[Path]:
    """The audio files that a list of files and folders means, in its order; folders are searched to the bottom, sorted.

    Raises:
        DataError: a path does not exist (all of them are named), or a folder holds no audio.
    """
    chosen = [Path(path) for path in paths]
    missing = [str(path) for path in chosen if not path.exists()]
    if missing:
        raise DataError(f"no such file or folder: {', '.join(missing)}")
    return [file for path in chosen for file in (_in_folder(path) if path.is_dir() else [path])]


def _in_folder(folder: Path) -> list[Path]:
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
    if not files:
        raise DataError(f"no audio in the folder {folder} (searched for {' '.join(SUFFIXES)})")
    return files


def _decode(path: Path, start: float, duration: float | None) -> tuple[np.ndarray, int]:
    """Samples (T, channels) float32 and their rate; every kind of broken file is refused here."""
    import soundfile

    _check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            first, count = _frames(path, file, start, duration)
            if first:
                file.seek(first)
            samples = file.read(count, dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: not audio that can be decoded, or cut short ({error.error_string}); fetch or convert it again") from error
    except TypeError as error:
        raise DataError(f"{path}: samples without a header; convert it to wav or flac") from error
    if len(samples) < count:
        raise DataError(f"{path}: cut short, {len(samples)} of {count} samples could be decoded; fetch it again")
    return samples, rate


def _check_file(path: Path) -> None:
    if not path.exists():
        raise DataError(f"no such audio file: {path}")
    if path.is_dir():
        raise DataError(f"{path} is a folder; name an audio file")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} cannot be read: no permission")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); fetch it again or leave it out")


def _frames(path: Path, file: soundfile.SoundFile, start: float, duration: float | None) -> tuple[int, int]:
    """First frame and number of frames to read, after checking them against what the file has."""
    total, rate = int(file.frames), int(file.samplerate)
    if total >= STREAMED_FLAC:
        raise DataError(f"{path}: its header does not say how long it is; convert it again, from a file and not from a pipe")
    if total == 0:
        raise DataError(f"{path}: no samples (0 frames at {rate} Hz); leave it out")
    promised = _promised_frames(path) if file.format in ("WAV", "WAVEX") else None
    if promised is not None and promised > total:
        raise DataError(f"{path}: cut short, it has {total} of the {promised} samples that its header promises; fetch it again")
    first = round(start * rate)
    count = total - first if duration is None else round(duration * rate)
    if first < 0 or count <= 0:
        raise DataError(f"{path}: nothing to read from {start} s for {duration} s; the file has {total / rate:.3f} s")
    beyond = first + count - total
    if beyond > round(SLACK * rate) or first >= total:
        raise DataError(f"{path}: asked for {start} s to {start + count / rate:.3f} s, but the file ends at {total / rate:.3f} s")
    return first, count - max(0, beyond)


def _promised_frames(path: Path) -> int | None:
    """Frames that a WAV header announces; None where it does not say. libsndfile silently believes the file's size instead."""
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return None
        file.seek(12)
        return _walk_chunks(file)


def _walk_chunks(file: BinaryIO) -> int | None:
    block = 0
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            return size // block if block and 0 < size < STREAMED_WAV else None
        if name == b"fmt ":
            fields = file.read(16)
            if len(fields) < 16 or struct.unpack_from("<H", fields)[0] not in (1, 3, 0xFFFE):
                return None  # compressed: a block is not a frame
            block = struct.unpack_from("<H", fields, 12)[0]
            size -= 16
        file.seek(size + size % 2, os.SEEK_CUR)
    return None


@functools.lru_cache(maxsize=16)
def _resampler(rate: int) -> Callable[[Any], Any]:
    """A resampler to 16 kHz with its filter computed once."""
    import torchaudio

    return torchaudio.transforms.Resample(rate, SAMPLE_RATE)
