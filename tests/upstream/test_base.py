"""What every encoder has from its base."""

from __future__ import annotations

from upstream.base import normalization_note


def test_the_note_on_normalisation_says_its_epsilon_and_what_decided_it() -> None:
    assert normalization_note(1e-5) == "input normalisation: on, eps 1e-05"
    assert normalization_note(None, "preprocessor_config.json") == "input normalisation: off (preprocessor_config.json)"
    assert normalization_note(1e-7, "a file") == "input normalisation: on, eps 1e-07 (a file)"
