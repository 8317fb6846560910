"""Miniature QUESST 2014: spoken words and phrases, and sentences to be searched for them, by eSpeak NG voices in QUESST's own layout.

Below the folder made: `quesst14Database/` with `Audio/` (the documents), `dev_queries/`, `eval_queries/` and `scoring/` (the lists of
languages, all English, and the ground truth). Queries of dev, queries of eval and documents each have voices of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.demo import building, voices
from corpus.demo.editions.librispeech import write_lines
from corpus.demo.speech import Spoken, Utterance

_KEY = "miniature quesst 1"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60

FOLDER = "quesst14Database"
# Folders, the names of their files, and what the lists in scoring/ call them.
DOCUMENTS, DEV, EVAL = "Audio", "dev_queries", "eval_queries"
_NAMES = {DOCUMENTS: "quesst14_{:05}", DEV: "quesst14_dev_{:04}", EVAL: "quesst14_eval_{:04}"}
_PARTS = {DOCUMENTS: "utterances", DEV: "dev", EVAL: "eval"}

# What is searched for: three syllables and more, so that a query is longer than most of what sounds like it.
_TERMS = {
    DEV: "umbrella|telephone|potatoes|library|newspaper|elephant|motorcycle|hospital|banana|photograph|butterfly|calendar|"
    "broken window|white horse|wooden table|heavy suitcase|village doctor|yellow jacket|coffee machine|morning paper",
    EVAL: "computer|tomatoes|helicopter|restaurant|chocolate|pineapple|crocodile|microphone|university|violin|cathedral|ambulance|"
    "silver spoon|black kitten|garden fence|leather wallet|railway station|purple flower|birthday present|winter blanket",
}
# Heard in documents and never searched for.
_OTHERS = "basket|mountain|captain|dinner|pencil|bottle|river|carpet|candle|hammer|ticket|pillow|market|sandwich|bicycle|ladder"
_SENTENCES = """
i saw the {} again
bring the {} with you
where is the {} now
she left the {} behind
we talked about the {}
nobody found the {}
please look at the {}
the {} was not there
the {} is near the {}
put the {} beside the {}
he likes the {} and the {}
do you need the {} or the {}
"""


@dataclass(frozen=True)
class Size:
    """How much is said: `queries` of each of dev and eval, each of them in documents as often as `occurrences` says."""

    queries: int = 20
    documents: int = 150
    occurrences: tuple[int, int] = (3, 7)


SIZE = Size()
# The same in a second, for tests.
TINY = Size(queries=2, documents=8, occurrences=(2, 2))


def make(cache: Path, size: Size = SIZE) -> Path:
    """The folder that holds `quesst14Database/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    lists = [chunk for utterances in plan(size).values() for chunk in building.chunks(utterances, LIST_SIZE)]
    return building.build(cache, "quesst", lists, _write_scoring)


def plan(size: Size = SIZE) -> dict[str, list[Utterance]]:
    """What is said in each folder."""
    terms = {folder: terms.split("|")[: size.queries] for folder, terms in _TERMS.items()}
    readers = [*voices.group("dev-other"), *voices.group("test-other")]
    return {
        DOCUMENTS: _utterances(DOCUMENTS, _sentences(size, [*terms[DEV], *terms[EVAL]]), readers, pad=0.1),
        DEV: _utterances(DEV, terms[DEV], voices.group("dev"), pad=0.02),
        EVAL: _utterances(EVAL, terms[EVAL], voices.group("test"), pad=0.02),
    }


def _sentences(size: Size, terms: Sequence[str]) -> list[str]:
    """Sentences with the terms, each as often as `size` says, and with other words in the places that are left."""
    generator = random.Random(f"{_KEY} sentences")
    sentences = generator.choices(_SENTENCES.strip().splitlines(), k=size.documents)
    words = [term for term in terms for _ in range(generator.randint(*size.occurrences))]
    places = sum(sentence.count("{}") for sentence in sentences)
    words += generator.choices(_OTHERS.split("|"), k=places - len(words))
    generator.shuffle(words)
    return [sentence.format(*(words.pop() for _ in range(sentence.count("{}")))) for sentence in sentences]


def _utterances(folder: str, texts: Sequence[str], readers: Sequence[voices.Voice], pad: float) -> list[Utterance]:
    """Each text by the next of the readers."""
    generator = random.Random(f"{_KEY} {folder}")
    return [
        Utterance(
            path=f"{FOLDER}/{folder}/{_NAMES[folder].format(index + 1)}.wav",
            text=text,
            voice=readers[index % len(readers)].name,
            rate=generator.randint(96, 116),
            pitch=generator.randint(42, 58),
            range=generator.randint(40, 60),
            pad=pad,
            snr_db=generator.randint(35, 50),
            seed=generator.randrange(2**32),
        )
        for index, text in enumerate(texts)
    ]


def _write_scoring(folder: Path, spoken: Sequence[Spoken]) -> None:
    """The lists of languages and the ground truth."""
    said = {name: [one for one in spoken if Path(one.utterance.path).parent.name == name] for name in _NAMES}
    scoring = folder / FOLDER / "scoring"
    scoring.mkdir()
    for name, ones in said.items():
        write_lines(scoring / f"language_key_{_PARTS[name]}.lst", [f"{one.utterance.path} nnenglish" for one in ones])
    for name in (DEV, EVAL):
        truth = scoring / f"groundtruth_quesst14_{_PARTS[name]}"
        truth.mkdir()
        lines = [line for document in said[DOCUMENTS] for query in said[name] for line in _truth(document, query)]
        write_lines(truth / f"quesst14_{_PARTS[name]}.rttm", lines)


def _truth(document: Spoken, query: Spoken) -> Iterator[str]:
    """An RTTM line for each time that a query is said in a document."""
    names = [Path(one.utterance.path).stem for one in (document, query)]
    wanted = query.utterance.text.split()
    for first in range(len(document.words) - len(wanted) + 1):
        part = document.words[first : first + len(wanted)]
        if [word for word, _, _ in part] == wanted:
            begin, end = part[0][1], part[-1][2]
            yield f"LEXEME {names[0]} 1 {begin:.2f} {end - begin:.2f} {names[1]} lex <NA> <NA>"
