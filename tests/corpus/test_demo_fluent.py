"""The miniature Fluent Speech Commands: the real intents, disjoint speakers, and a layout that the reader reads."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from corpus import fluent as reader
from corpus.demo import voices
from corpus.demo.editions import fluent as edition
from corpus.locate import locate

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


def test_the_intents_are_those_of_the_real_set() -> None:
    """6 actions, 14 objects and 4 locations in 31 intents (Lugosch et al., 2019, section 3)."""
    commands = edition.commands()
    assert [len({getattr(command, slot) for command in commands}) for slot in reader.SLOTS] == [6, 14, 4]
    wordings = Counter((command.action, command.object, command.location) for command in commands)
    assert len(wordings) == 31 and set(wordings.values()) == {2}
    assert len({command.text for command in commands}) == 62


def test_every_voice_is_of_its_splits_group_and_every_class_is_trained() -> None:
    plan = edition.plan()
    for name, group in (("train", "train"), ("valid", "dev"), ("test", "test")):
        assert {utterance.voice for _, utterance in plan[name]} == {voice.name for voice in voices.group(group)}
    assert {command for command, _ in plan["train"]} == set(edition.commands())
    assert sum(map(len, plan.values())) < 900
    paths = [utterance.path for said in plan.values() for _, utterance in said]
    assert len(set(paths)) == len(paths)


def test_the_reader_reads_the_miniature(tmp_path: Path) -> None:
    folder = edition.make(tmp_path, edition.TINY)
    root = locate(reader.SOURCE, folder)
    assert root == folder / "fluent_speech_commands_dataset"
    for split, planned in zip(("train", "dev", "test"), edition.plan(edition.TINY).values(), strict=True):
        cuts = list(reader.read(root, split))
        assert [cut.id for cut in cuts] == [Path(utterance.path).stem for _, utterance in planned]
        said = [(cut.supervisions[0].text, tuple(cut.supervisions[0].custom.values())) for cut in cuts]
        assert said == [(command.text.capitalize(), (command.action, command.object, command.location)) for command, _ in planned]
        assert all(0.5 < cut.duration < 6 for cut in cuts)
        assert len({cut.supervisions[0].speaker for cut in cuts}) == 1
