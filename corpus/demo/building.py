"""Demo corpora in the cache: each made once, whole or not at all, under the hash of its recipe."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from corpus.demo import speech
from corpus.demo.speech import Spoken, Utterance
from corpus.files import make_folder

# Raise when the same utterances come out differently: the synthesis, or the files written beside the audio.
_RECIPE = 2


def build(
    cache: Path,
    name: str,
    lists: Sequence[Sequence[Utterance]],
    finish: Callable[[Path, list[Spoken]], None],
) -> Path:
    """The folder `demo/NAME-HASH` of the cache with all utterances in it, made now unless it is there.

    Made under another name and renamed when complete; a process that comes meanwhile waits for the one at work.

    Args:
        lists: what each speaking process says.
        finish: writes what lies beside the audio.
    Raises: DataError: when eSpeak NG is not installed.
    """
    folder = cache / "demo" / f"{name}-{recipe_hash(lists)}"
    make_folder(folder, lambda making: finish(making, _speak(name, lists, making)))
    return folder


def chunks(utterances: Sequence[Utterance], size: int) -> list[Sequence[Utterance]]:
    """Lists of `size` utterances, one for each speaking process."""
    return [utterances[start : start + size] for start in range(0, len(utterances), size)]


def recipe_hash(lists: Sequence[Sequence[Utterance]]) -> str:
    """Hash of all that decides the bytes."""
    recipe = [_RECIPE, speech.synthesizer(), [[asdict(utterance) for utterance in utterances] for utterances in lists]]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def _speak(name: str, lists: Sequence[Sequence[Utterance]], folder: Path) -> list[Spoken]:
    from tqdm import tqdm

    utterances = sum(map(len, lists))
    started = time.monotonic()
    with tqdm(total=utterances, desc=f"making demo corpus {name}", unit="utt", leave=False, disable=None) as bar:
        spoken = [said for list_spoken in speech.speak(lists, folder, bar.update) for said in list_spoken]
    minutes = sum(said.seconds for said in spoken) / 60
    sys.stderr.write(
        f"demo corpus {name}: {utterances} utterances, {minutes:.0f} minutes by eSpeak NG voices, "
        f"made in {time.monotonic() - started:.0f} s\n"
    )
    return spoken
