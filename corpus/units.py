"""Text to numbers and back: SUPERB's characters (ASR) and phones (PR)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from corpus.errors import DataError

CHARACTERS = ("<s>", "<pad>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
"""SUPERB's 32 entries of ASR, in the order of s3prl's ``asr/char.dict``; the CTC blank is ``<s>``."""

VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS = (
    "B",
    "CH",
    "D",
    "DH",
    "F",
    "G",
    "HH",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
)
PHONES = ("<pad>", "<eos>", "<unk>", "SIL", "SPN", *sorted([*CONSONANTS, *(v + stress for v in VOWELS for stress in "012")]))
"""SUPERB's 74 entries of PR: ARPAbet with stress, in the order of s3prl's ``ctc/vocab/phoneme.txt``; the CTC blank is ``<pad>``."""

NAMED_AT_MOST = 20
"""Missing words listed in one message."""


class CharacterUnits:
    """The characters of SUPERB's ASR.

    Attributes:
        symbols: all entries; an id is a position in it.
        blank: id of the CTC blank.

    Source: SUPERB (Yang et al., 2021); s3prl, ``downstream/asr``.
    """

    symbols: tuple[str, ...] = CHARACTERS
    blank = 0

    def __init__(self) -> None:
        self._ids = {symbol: index for index, symbol in enumerate(self.symbols) if len(symbol) == 1}
        self._unknown = self.symbols.index("<unk>")

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str, tail: bool = True) -> list[int]:
        """Ids of a transcript; case and the number of spaces do not matter.

        Args:
            text: words.
            tail: end with ``|`` and ``</s>``, as SUPERB trains it; False ends with the last letter.
        """
        letters = "|".join(text.upper().split())
        ids = [self._ids.get(letter, self._unknown) for letter in letters]
        return [*ids, self._ids["|"], self.symbols.index("</s>")] if tail else ids

    def decode(self, ids: Iterable[int]) -> str:
        """Words of a sequence of ids (already collapsed): special entries go, ``|`` parts words, ``<unk>`` stays visible."""
        dropped = ("<s>", "<pad>", "</s>")
        letters = "".join(symbol for symbol in (self.symbols[index] for index in ids) if symbol not in dropped)
        return " ".join(letters.replace("|", " ").split())


class PhoneUnits:
    """The phones of SUPERB's PR, through pronunciation lexicons.

    Attributes:
        symbols: all entries; an id is a position in it.
        blank: id of the CTC blank.
        pronunciations: phones of each word (upper case).

    Source: SUPERB (Yang et al., 2021); s3prl, ``downstream/ctc/libriphone.yaml``.
    """

    symbols: tuple[str, ...] = PHONES
    blank = 0

    def __init__(self, lexicons: Sequence[Path | str]) -> None:
        """Read the lexicons (``WORD PH PH …`` a line) in order; the first pronunciation of a word wins."""
        self._ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        self.lexicons = [Path(path) for path in lexicons]
        self.pronunciations: dict[str, tuple[str, ...]] = {}
        for path in self.lexicons:
            self._read(path)

    def __len__(self) -> int:
        return len(self.symbols)

    def missing(self, texts: Iterable[str]) -> list[str]:
        """Words of these texts that no lexicon has, sorted."""
        return sorted({word for text in texts for word in text.upper().split()} - self.pronunciations.keys())

    def check(self, texts: Iterable[str]) -> None:
        """Refuse texts with words that no lexicon has; the DataError lists them."""
        words = self.missing(texts)
        if words:
            shown = ", ".join(words[:NAMED_AT_MOST]) + (", …" if len(words) > NAMED_AT_MOST else "")
            where = ", ".join(str(path) for path in self.lexicons) or "no lexicon given"
            raise DataError(
                f"{len(words)} words have no pronunciation in the lexicons ({where}): {shown}. Add a lexicon file that has them"
            )

    def encode(self, text: str, tail: bool = True) -> list[int]:
        """Ids of the phones of all words, then ``<eos>`` unless `tail` is False; DataError where a word is missing."""
        self.check([text])
        ids = [self._ids[phone] for word in text.upper().split() for phone in self.pronunciations[word]]
        return [*ids, self._ids["<eos>"]] if tail else ids

    def decode(self, ids: Iterable[int]) -> str:
        """Phones parted by spaces; ``<pad>`` and ``<eos>`` go."""
        return " ".join(symbol for symbol in (self.symbols[index] for index in ids) if symbol not in ("<pad>", "<eos>"))

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(f"no such lexicon: {path}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no lexicon in UTF-8 text ({error.reason} at byte {error.start})") from error
        for number, line in enumerate(lines, 1):
            word, *phones = line.split() or [""]
            strange = [phone for phone in phones if phone not in self._ids]
            if word and (strange or not phones):
                what = f"unknown phone {strange[0]!r}" if strange else "no phones"
                raise DataError(f"{path}, line {number}: {what} for {word!r}; a line is WORD and ARPAbet phones with stress, as in AH0")
            if word:
                self.pronunciations.setdefault(word.upper(), tuple(phones))
