"""YAML by the 1.2 core rules."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine import yaml12
from engine.errors import ConfigError


@pytest.mark.parametrize(
    "text, value",
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),  # YAML 1.1 makes booleans of these
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("1e-4", 1e-4),  # and text of these
        ("1E3", 1000.0),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("-3.", -3.0),
        ("+7", 7),
        ("12:30:45", "12:30:45"),  # and a number of this
        ("1_000", "1_000"),
        ("2021-05-03", "2021-05-03"),
        ("null", None),
        ("~", None),
        ("", None),
        ("[yes, 2, 1e-2, true]", ["yes", 2, 0.01, True]),
        ("{a: off}", {"a": "off"}),
        ("'1e-4'", "1e-4"),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    found = yaml12.parse(text, "here")
    assert found == value and type(found) is type(value)


def test_infinite_and_undefined_numbers() -> None:
    assert yaml12.parse("[.inf, -.inf]", "here") == [math.inf, -math.inf]
    assert math.isnan(yaml12.parse(".nan", "here"))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("a: 1\na: 2", "the key 'a' stands twice"),
        ("a: {b: 1, b: 1}", "'b' stands twice"),
        ("a: [1", "here: not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "here: not valid YAML"),
        ("? [1, 2]\n: x", "keys must be plain words"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace("[", r"\[")) as caught:
        yaml12.parse(text, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {"a": "yes", "b": "1e-4", "c": 1e-4, "d": 1e-20, "e": True, "f": "true", "g": None, "h": "null", "i": "", "j": "~"},
        {"numbers": [0, -1, 3.0, 1e22, math.inf, 1.5e-7], "text": ["007", "0x1F", "12:30", "ü", "a: b", "# no", " x "]},
        {"nested": {"empty": {}, "none": [], "deep": [{"a": [1, [2]]}]}, "long": "word " * 60},
    ],
)
def test_written_values_are_read_back_as_they_were(value: dict[str, object]) -> None:
    again = yaml12.parse(yaml12.write(value), "here")
    assert again == value
    assert list(again) == list(value)
    assert repr(again) == repr(value)  # types too


def test_files_that_are_no_configuration_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with pytest.raises(ConfigError, match=r"no configuration file .*x\.yaml"):
        yaml12.read(path)
    path.write_text("[1]")
    with pytest.raises(ConfigError, match=r"x\.yaml: a configuration is a mapping"):
        yaml12.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        yaml12.read(path)
    path.write_text("# nothing\n")
    assert yaml12.read(path) == {}
