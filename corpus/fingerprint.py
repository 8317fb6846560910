"""What a set of cuts is, in one string that is the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lhotse.cut import Cut


def fingerprint(cuts: Iterable[Cut]) -> str:
    """SHA-256 (hex) over ids, times, sample counts, texts, labels and file sizes; neither paths nor the order of cuts matter."""
    sizes: dict[str, int | None] = {}
    lines = sorted(json.dumps(_described(cut, sizes), sort_keys=True, default=str) for cut in cuts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_states(cuts: Iterable[Cut]) -> str:
    """SHA-256 (hex) over paths, sizes and modification times of the audio files, for caches on this machine: it changes when a
    file is written again, where `fingerprint` may not."""
    paths = {str(source.source) for cut in cuts for source in _sources(cut) if source.type == "file"}
    states = [(path, (state := Path(path).stat()).st_size, state.st_mtime_ns) for path in sorted(paths) if Path(path).is_file()]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()


def _sources(cut: Cut) -> list[Any]:
    return [source for recording in _recordings(cut) for source in recording.sources]


def _recordings(cut: Cut) -> list[Any]:
    parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
    return [part.recording for part in parts if getattr(part, "recording", None) is not None]  # padding has none


def _described(cut: Cut, sizes: dict[str, int | None]) -> dict[str, Any]:
    return {
        "id": cut.id,
        "start": cut.start,
        "duration": cut.duration,
        "custom": getattr(cut, "custom", None),
        "recordings": [
            [recording.num_samples, recording.sampling_rate, [_size(source, sizes) for source in recording.sources]]
            for recording in _recordings(cut)
        ],
        "supervisions": [[s.start, s.duration, s.channel, s.text, s.speaker, s.custom] for s in cut.supervisions],
    }


def _size(source: Any, sizes: dict[str, int | None]) -> int | None:
    """Bytes of an audio file, asked once a file; None for what is no file."""
    if source.type != "file":
        return None
    path = str(source.source)
    if path not in sizes:
        file = Path(path)
        sizes[path] = file.stat().st_size if file.is_file() else None
    return sizes[path]
