"""Text to numbers and back: SUPERB's characters (ASR), phones (PR) and characters with slot markers (SF)."""

from __future__ import annotations

import string
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

OUTSIDE = "O"
"""Label of a word that belongs to no slot."""

PUNCTUATION = "?!.,;-"
"""A word of SF that is a part of this is not spoken."""

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


class SlotUnits:
    """The characters of SUPERB's SF, and two markers a slot around its value.

    ``PLAY JAZZ`` with the genre marked is ``P L A Y _ B-genre J A Z Z E-genre <eos>``, where ``_`` stands for a space.

    Attributes:
        symbols: all entries; an id is a position in it. With the 39 slots of Audio SNIPS there are 109.
        blank: id of the CTC blank.

    Source: SUPERB (Yang et al., 2021); s3prl, ``downstream/ctc/text.py``.
    """

    blank = 0

    def __init__(self, slots: Iterable[str]) -> None:
        """Take the names of the slots, in the order in which their markers are numbered."""
        characters = ("<pad>", "<eos>", "<unk>", " ", *string.ascii_uppercase, "'")
        self.symbols = (*characters, *(f"{end}-{slot}" for slot in slots for end in "BE"))
        self._ids = {symbol: index for index, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, words: Sequence[str], slots: Sequence[str], filtered: bool = False) -> list[int]:
        """Ids of a sentence and its slots; neighbours with the same slot are one value.

        Args:
            words: case does not matter; ``&`` is read as "and".
            slots: the slot of each word, or ``O``.
            filtered: leave words of punctuation out before anything else. False passes over them as SUPERB does, so that a marker
                or the ``<eos>`` due at such a word is missing.
        Raises:
            DataError: a slot that is not among the units', or not one slot a word.
        """
        if len(words) != len(slots):
            raise DataError(f"{len(words)} words but {len(slots)} slots; give each word a slot, or {OUTSIDE!r}")
        pairs = [pair for pair in zip(words, slots, strict=True) if not filtered or pair[0] not in PUNCTUATION]
        edges = [OUTSIDE, *(slot for _, slot in pairs), OUTSIDE]
        ids = []
        for index, (word, slot) in enumerate(pairs):
            if word in PUNCTUATION:
                continue
            marked = slot != OUTSIDE
            if marked and edges[index] != slot:
                ids.append(self._marker("B", slot))
            ids += [self._ids.get(letter, self._ids["<unk>"]) for letter in ("AND" if word == "&" else word.upper())]
            if marked and edges[index + 2] != slot:
                ids.append(self._marker("E", slot))
            ids.append(self._ids["<eos>" if index == len(pairs) - 1 else " "])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text with its markers, as in ``PLAY B-genre JAZZ E-genre``; ``<pad>`` and ``<eos>`` go, ``<unk>`` stays visible."""
        return "".join(self._written(self.symbols[index]) for index in ids)

    def _marker(self, end: str, slot: str) -> int:
        if f"{end}-{slot}" not in self._ids:
            known = [symbol[2:] for symbol in self.symbols if symbol.startswith("B-")]
            raise DataError(f"unknown slot {slot!r}; there are {', '.join(known) or 'none'}")
        return self._ids[f"{end}-{slot}"]

    @staticmethod
    def _written(symbol: str) -> str:
        if symbol in ("<pad>", "<eos>"):
            return ""
        return {"B-": f"{symbol} ", "E-": f" {symbol}"}.get(symbol[:2], symbol)
