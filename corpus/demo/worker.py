"""The process that speaks: reads one list of utterances, writes their audio, tells their phones and words.

Started by `corpus.demo.speech`, never imported by it: eSpeak NG (GPL-3) is loaded here and nowhere else. What eSpeak NG says
depends on what its process said before, so one fresh process takes one list, from the first utterance to the last.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np
import soundfile

SAMPLE_RATE = 16_000
# From espeak-ng's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _DO_NOT_EXIT, _UTF8 = 2, 0x0001, 0x8000, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD_EVENT, _PHONEME_EVENT = 1, 7


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesizer:
    """eSpeak NG in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DO_NOT_EXIT)
        if self._rate <= 0:
            raise RuntimeError(f"espeak_Initialize returned {self._rate}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the breath of some voices: by the clock if left alone
        self._blocks: list[bytes] = []
        self._events: list[tuple[int, int, int, str]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds only a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type:
            event = events[index]
            name = bytes(event.id.string).decode() if event.type == _PHONEME_EVENT else ""
            self._events.append((event.type, event.sample, event.text_position, name))
            index += 1
        return 0

    def speak(self, utterance: dict) -> tuple[np.ndarray, list, list]:
        """Samples at 16 kHz in [-1, 1], phone events [name, start] and word events [position in the text, start]."""
        self._blocks.clear()
        self._events.clear()
        self._check(self._library.espeak_SetVoiceByName(utterance["voice"].encode()), f"voice {utterance['voice']!r}")
        for parameter, value in ((_RATE, utterance["rate"]), (_PITCH, utterance["pitch"]), (_RANGE, utterance["range"])):
            self._check(self._library.espeak_SetParameter(parameter, value, 0), f"parameter {parameter} = {value}")
        text = utterance["text"].encode()
        self._check(self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None), repr(utterance["text"]))
        spoken = np.frombuffer(b"".join(self._blocks), dtype=np.int16).astype(np.float64) / 32768
        pad = np.zeros(round(utterance["pad"] * SAMPLE_RATE))
        samples = np.concatenate([pad, resample(spoken, self._rate), pad])
        events = [(kind, utterance["pad"] + sample / self._rate, at, name) for kind, sample, at, name in self._events]
        phones = [[name, start] for kind, start, _, name in events if kind == _PHONEME_EVENT]
        words = [[position - 1, start] for kind, start, position, _ in events if kind == _WORD_EVENT]
        return samples, phones, words

    @staticmethod
    def _check(code: int, what: str) -> None:
        if code != 0:
            raise RuntimeError(f"eSpeak NG refuses {what} (code {code})")


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """`samples` at 16 kHz, by cutting the spectrum (rate above 16 kHz) at the new Nyquist frequency."""
    step = rate // int(np.gcd(rate, SAMPLE_RATE))
    blocks = len(samples) // step + 2  # two more, so that the end does not wrap into the beginning
    length, new_length = blocks * step, blocks * SAMPLE_RATE // (rate // step)
    spectrum = np.fft.rfft(samples, length)[: new_length // 2 + 1]
    return np.fft.irfft(spectrum, new_length)[: len(samples) * SAMPLE_RATE // rate] * (new_length / length)


def with_noise(samples: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """`samples` with pink noise, `snr_db` below the speech."""
    length = 1 << len(samples).bit_length()  # a power of two transforms fast
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(length))
    pink = np.fft.irfft(white / np.sqrt(np.arange(len(white)) + 50.0), length)[: len(samples)]
    return samples + pink * np.sqrt(np.mean(samples**2) / np.mean(pink**2)) * 10 ** (-snr_db / 20)


def main() -> None:
    """One JSON object on stdin ("root", "utterances"); one JSON line on stdout for each utterance, in order."""
    work = json.load(sys.stdin)
    synthesizer = Synthesizer()
    for utterance in work["utterances"]:
        samples, phones, words = synthesizer.speak(utterance)
        if utterance["snr_db"] is not None:
            samples = with_noise(samples, utterance["snr_db"], utterance["seed"])
        pcm = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
        path = Path(work["root"], utterance["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, pcm, SAMPLE_RATE, subtype="PCM_16")
        sys.stdout.write(json.dumps({"samples": len(pcm), "phones": phones, "words": words}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
