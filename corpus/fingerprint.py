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


def _described(cut: Cut, sizes: dict[str, int | None]) -> dict[str, Any]:
    parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
    recordings = [getattr(part, "recording", None) for part in parts]  # padding has none
    return {
        "id": cut.id,
        "start": cut.start,
        "duration": cut.duration,
        "custom": getattr(cut, "custom", None),
        "recordings": [
            [recording.num_samples, recording.sampling_rate, [_size(source, sizes) for source in recording.sources]]
            for recording in recordings
            if recording is not None
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
