"""Pronunciations of the words of the demo corpora: American English in ARPAbet, stress on the vowels."""

from __future__ import annotations

from collections.abc import Iterable

_EVERYDAY = """
a AH0 | after AE1 F T ER0 | again AH0 G EH1 N | always AO1 L W EY0 Z | an AE1 N | and AE1 N D | angry AE1 NG G R IY0 | anna AE1 N AH0
apples AE1 P AH0 L Z | are AA1 R | at AE1 T | basket B AE1 S K AH0 T | bed B EH1 D | before B IH0 F AO1 R | bench B EH1 N CH
bicycle B AY1 S IH0 K AH0 L | bird B ER1 D | black B L AE1 K | blue B L UW1 | boat B OW1 T | book B UH1 K
bottle B AA1 T AH0 L | bought B AO1 T | bread B R EH1 D | bridge B R IH1 JH | bring B R IH1 NG | broken B R OW1 K AH0 N
brother B R AH1 DH ER0 | bus B AH1 S | busy B IH1 Z IY0 | but B AH1 T | by B AY1 | cake K EY1 K | came K EY1 M | can K AE1 N
car K AA1 R | carried K AE1 R IY0 D | cat K AE1 T | chairs CH EH1 R Z | cheese CH IY1 Z | coat K OW1 T | coffee K AO1 F IY0
coins K OY1 N Z | comes K AH1 M Z | cook K UH1 K | cow K AW1 | cup K AH1 P | dance D AE1 N S | david D EY1 V IH0 D
desk D EH1 S K | did D IH1 D | dinner D IH1 N ER0 | do D UW1 | doctor D AA1 K T ER0 | dog D AO1 G | door D AO1 R
dress D R EH1 S | eggs EH1 G Z | farmer F AA1 R M ER0 | find F AY1 N D | fish F IH1 SH | five F AY1 V | flowers F L AW1 ER0 Z
forest F AO1 R AH0 S T | found F AW1 N D | four F AO1 R | friday F R AY1 D EY2 | from F R AH1 M
garden G AA1 R D AH0 N | gate G EY1 T | gave G EY1 V | give G IH1 V
green G R IY1 N | hammer HH AE1 M ER0 | happy HH AE1 P IY0 | has HH AE1 Z
hat HH AE1 T | he HH IY1 | heavy HH EH1 V IY0 | her HH ER1 | his HH IH1 Z | horse HH AO1 R S | hours AW1 ER0 Z
hungry HH AH1 NG G R IY0 | hurried HH ER1 IY0 D | i AY1 | in IH1 N | into IH1 N T UW0 | is IH1 Z | it IH1 T
john JH AA1 N | juice JH UW1 S | kitchen K IH1 CH AH0 N | lake L EY1 K | lamp L AE1 M P | large L AA1 R JH | last L AE1 S T
leave L IY1 V | letter L EH1 T ER0 | library L AY1 B R EH2 R IY0 | lost L AO1 S T | lunch L AH1 N CH | market M AA1 R K AH0 T
mary M EH1 R IY0 | me M IY1 | meet M IY1 T | milk M IH1 L K | monday M AH1 N D EY2 | morning M AO1 R N IH0 NG
mother M AH1 DH ER0 | mountain M AW1 N T AH0 N | my M AY1 | near N IH1 R | needs N IY1 D Z | never N EH1 V ER0 | new N UW1
next N EH1 K S T | night N AY1 T | not N AA1 T | of AH1 V | often AO1 F AH0 N | old OW1 L D | on AA1 N | open OW1 P AH0 N
our AW1 ER0 | painted P EY1 N T AH0 D | peter P IY1 T ER0 | please P L IY1 Z | potatoes P AH0 T EY1 T OW2 Z | put P UH1 T
quickly K W IH1 K L IY0 | rabbit R AE1 B AH0 T | rain R EY1 N | ran R AE1 N | reach R IY1 CH | read R IY1 D | ready R EH1 D IY0
red R EH1 D | returned R IH0 T ER1 N D | rice R AY1 S | river R IH1 V ER0 | road R OW1 D | sarah S EH1 R AH0
scarf S K AA1 R F | school S K UW1 L | see S IY1 | seven S EH1 V AH0 N | she SH IY1 | shelf SH EH1 L F | shirt SH ER1 T
sing S IH1 NG | sister S IH1 S T ER0 | six S IH1 K S | sleep S L IY1 P | slowly S L OW1 L IY0 | small S M AO1 L | snow S N OW1
sold S OW1 L D | some S AH1 M | sometimes S AH1 M T AY2 M Z | soon S UW1 N | soup S UW1 P | station S T EY1 SH AH0 N
stopped S T AA1 P T | storm S T AO1 R M | strong S T R AO1 NG | sun S AH1 N | swim S W IH1 M | table T EY1 B AH0 L
takes T EY1 K S | tea T IY1 | teacher T IY1 CH ER0 | that DH AE1 T | the DH AH0 | there DH EH1 R | they DH EY1
think TH IH1 NG K | this DH IH1 S | three TH R IY1 | tired T AY1 ER0 D | to T UW1 | today T AH0 D EY1
together T AH0 G EH1 DH ER0 | tomorrow T AH0 M AA1 R OW2 | tonight T AH0 N AY1 T | train T R EY1 N | truck T R AH1 K | two T UW1
under AH1 N D ER0 | very V EH1 R IY0 | walked W AO1 K T | wants W AA1 N T S | was W AA1 Z | washed W AA1 SH T
water W AO1 T ER0 | we W IY1 | week W IY1 K | went W EH1 N T | were W ER1 | when W EH1 N | where W EH1 R | white W AY1 T
who HH UW1 | will W IH1 L | wind W IH1 N D | window W IH1 N D OW0 | with W IH1 DH | write R AY1 T | yellow Y EH1 L OW0
yesterday Y EH1 S T ER0 D EY2 | you Y UW1
"""

EVERYDAY: dict[str, str] = {
    word: " ".join(phones) for word, *phones in (entry.split() for entry in _EVERYDAY.strip().replace("\n", "|").split("|"))
}


def lines(words: Iterable[str]) -> list[str]:
    """Lines of a lexicon file for these words, sorted: the word in capitals, a tab, its phones."""
    return [f"{word.upper()}\t{EVERYDAY[word]}" for word in sorted(set(words))]
