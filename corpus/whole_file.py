"""A whole audio file as one cut, from its header alone: what readers of data sets with one file an utterance stand on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError

if TYPE_CHECKING:
    from lhotse import Recording
    from lhotse.cut import MonoCut


def whole_file(
    path: Path, utt_id: str, where: str, *, text: str | None = None, speaker: str | None = None, labels: dict[str, str] | None = None
) -> MonoCut:
    """A cut called `utt_id` with one supervision, and a recording of the same name. Arguments and errors as `read_recording`.

    Args:
        labels: `custom` of the supervision.
    """
    from lhotse import SupervisionSegment
    from lhotse.cut import MonoCut

    recording = read_recording(path, utt_id, where)
    supervision = SupervisionSegment(utt_id, utt_id, 0.0, recording.duration, 0, text=text, speaker=speaker, custom=labels)
    return MonoCut(utt_id, start=0.0, duration=recording.duration, channel=0, recording=recording, supervisions=[supervision])


def read_recording(path: Path, recording_id: str, where: str) -> Recording:
    """A recording from the header of its file, by libsndfile itself: about 0.1 ms, a fifth of what Lhotse takes.

    Args:
        where: the list and line, or the folder, that name the file; for messages.
    Raises:
        DataError: the file is missing, is not audio, has no samples, or does not say how many.
    """
    import soundfile
    from lhotse import AudioSource, Recording

    from corpus.audio import STREAMED_FLAC  # not before: it brings NumPy

    if not path.is_file():
        raise DataError(f"{where}: no such audio file: {path}; unpack the data set again, or take the line out")
    try:
        header = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{where}: {path} is not audio, or damaged or empty; fetch it again, or take the line out") from error
    if header.frames == 0:
        raise DataError(f"{where}: {path} has no samples; fetch it again, or take the line out")
    if header.frames >= STREAMED_FLAC:
        raise DataError(f"{where}: the header of {path} does not say how long it is; convert it again, from a file and not from a pipe")
    channels, seconds = list(range(header.channels)), header.frames / header.samplerate
    return Recording(recording_id, [AudioSource("file", channels, str(path))], header.samplerate, header.frames, seconds, channels)
