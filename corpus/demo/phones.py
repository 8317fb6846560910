"""eSpeak NG's English phoneme names as ARPAbet."""

from __future__ import annotations

_VOWELS = {
    "@": "AH", "@2": "AH", "@5": "UH", "a#": "AH", "V": "AH", "a": "AE", "aa": "AE", "A:": "AA", "A@": "AA R", "0": "AA", "0#": "AA", "A#": "AA",
    "E": "EH", "E#": "EH", "E2": "EH", "e@": "EH R", "e:": "EH", "I": "IH", "I2": "IH", "I#": "IH", "i": "IY", "i:": "IY", "i@": "IY AH", "i@3": "IH R",
    "3": "ER", "3:": "ER", "O": "AO", "O:": "AO", "O2": "AO", "O@": "AO R", "o@": "AO R", "U": "UH", "u:": "UW", "u": "UW", "U@": "UH R",
    "aI": "AY", "aI@": "AY ER", "aI3": "AY ER", "aU": "AW", "aU@": "AW ER", "eI": "EY", "oU": "OW", "OI": "OY", "o": "OW",
    "@L": "AH L",
}  # fmt: skip
_CONSONANTS = {
    "p": "P", "b": "B", "t": "T", "t#": "T", "t2": "T", "?": "T", "*": "T", "d": "D", "d#": "D", "k": "K", "g": "G", "f": "F", "v": "V", "T": "TH", "D": "DH",
    "s": "S", "z": "Z", "z#": "Z", "z/2": "Z", "S": "SH", "Z": "ZH", "tS": "CH", "dZ": "JH", "m": "M", "n": "N", "N": "NG", "l": "L", "l#": "L", "r": "R",
    "r-": "R", "w": "W", "w#": "W", "j": "Y", "h": "HH",
}  # fmt: skip
_STRESS = {"'": "1", ",": "2"}
_STRESS_MARKS = "',%=|"


def to_arpabet(name: str) -> list[str]:
    """The ARPAbet phones of one eSpeak NG phoneme: vowels with the stress digit on the first, pauses as SIL, a glide that belongs to the phone before it as none."""
    if name == ";":
        return []
    if name.startswith("_"):
        return ["SIL"]
    bare = name.lstrip(_STRESS_MARKS)
    if bare in _CONSONANTS:
        return [_CONSONANTS[bare]]
    if bare not in _VOWELS:
        raise KeyError(f"no ARPAbet phone for the eSpeak NG phoneme {name!r}")
    first, *rest = _VOWELS[bare].split()
    return [first + _STRESS.get(name[0], "0"), *(phone + "0" if phone in ("AH", "ER") else phone for phone in rest)]
