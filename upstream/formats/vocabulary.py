"""What the outputs of a CTC head stand for: fairseq's dictionaries and Hugging Face's `vocab.json`, both ways.

The first two rows are the same with swapped names: row 0, the blank, is `<s>` for fairseq and `<pad>` for Hugging Face.
Source: fairseq data/dictionary.py and criterions/ctc.py; transformers models/wav2vec2/tokenization_wav2vec2.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from upstream.errors import UpstreamError
from upstream.folder import TOKENIZER_FILE, VOCABULARY_FILE

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # what every dictionary of fairseq begins with
SWAPPED = {"<s>": "<pad>", "<pad>": "<s>"}


def read_dictionary(path: Path) -> list[str]:
    """The symbols of a `dict.ltr.txt`, one and its count on each line, behind fairseq's special ones.

    Raises:
        UpstreamError: the file cannot be read, or has other lines.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UpstreamError(f"{path}: cannot be read ({error}); expected a dictionary of fairseq, 'SYMBOL COUNT' on each line") from None
    pairs = [line.rsplit(" ", 1) for line in lines if line.strip() and not line.endswith("#fairseq:overwrite")]
    if wrong := [pair for pair in pairs if len(pair) != 2 or not pair[1].isdigit()]:
        raise UpstreamError(f"{path}: expected 'SYMBOL COUNT' on each line, found '{' '.join(wrong[0])[:80]}'")
    return [*SPECIAL, *(symbol for symbol, _ in pairs)]


def read_vocabulary(folder: Path) -> list[str] | None:
    """The symbols of `vocab.json` under fairseq's names; None where there is none, or one for several languages.

    Raises:
        UpstreamError: the file is no vocabulary.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        return None
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UpstreamError(f"{path}: is not readable JSON ({error}); download the folder again") from None
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        return None
    symbols = sorted(ids, key=lambda symbol: int(ids[symbol]))
    return [SWAPPED.get(symbol, symbol) for symbol in symbols]


def vocabulary_files(symbols: list[str] | None, outputs: int, blank: int) -> dict[str, bytes]:
    """Hugging Face's files of a CTC model's symbols.

    Args:
        symbols: under fairseq's names; None, where they are not known, makes no files.
        outputs: of the CTC head.
        blank: which of them is the blank.

    Raises:
        UpstreamError: there are more or fewer symbols than outputs.
    """
    if symbols is None:
        return {}
    if len(symbols) != outputs:
        raise UpstreamError(f"the dictionary has {len(symbols)} symbols, and the CTC head {outputs} outputs; give the one of its training")
    names = [SWAPPED.get(symbol, symbol) for symbol in symbols]
    tokenizer: dict[str, Any] = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": names[blank],
        "word_delimiter_token": "|",
        "do_lower_case": False,
    }
    written = {VOCABULARY_FILE: {name: index for index, name in enumerate(names)}, TOKENIZER_FILE: tokenizer}
    return {name: (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode() for name, values in written.items()}
