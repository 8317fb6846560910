"""eSpeak NG's English phoneme names as ARPAbet."""

from __future__ import annotations


def _table(entries: str) -> dict[str, str]:
    """eSpeak NG's names and the ARPAbet phones of each, without stress."""
    named = (entry.split(maxsplit=1) for entry in entries.strip().replace("\n", "|").split("|"))
    return {name: phones.strip() for name, phones in named}


_VOWELS = _table("""
    @ AH | @2 AH | @- AH | @L AH L | @5 UH | a# AH | V AH | a AE | aa AE | A: AA | A# AA | A@ AA R | 0 AA | 0# AA | E EH | E# EH | E2 EH
    e: EH | e@ EH R | I IH | I2 IH | I# IH | i IY | i: IY | i@ IY AH | i@3 IH R | 3 ER | 3: ER | IR ER | VR ER | O AO | O: AO | O2 AO
    O@ AO R | o@ AO R | o OW | oU OW | U UH | U@ UH R | u UW | u: UW | OI OY
    aI AY | aI2 AY | aI@ AY ER | aI3 AY ER | aU AW | aU@ AW ER | eI EY
""")
_CONSONANTS = _table("""
    p P | b B | t T | t# T | t2 T | ? T | * T | t[ TH | T TH | d D | d# D | d[ DH | D DH | k K | g G | f F | v V | s S | z Z | z# Z | z/2 Z
    S SH | Z ZH | tS CH | dZ JH | h HH | m M | n N | n- N | N NG | l L | l# L | r R | r- R | w W | w# W | j Y
""")
_STRESS = {"'": "1", ",": "2"}
_STRESS_MARKS = "',%=|"


def to_arpabet(name: str) -> list[str]:
    """The ARPAbet phones of one eSpeak NG phoneme, stress on the first vowel; SIL for a pause, none for a glide of the phone before."""
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
