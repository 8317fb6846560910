"""`--list`: what it says of encoders of other packages, and that it says it quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import downstream
from engine import listing
from upstream.adapters import s3prl_catalogue
from upstream.adapters.s3prl_catalogue import Family


def test_every_family_of_s3prl_is_listed_with_its_encoders_or_the_reason() -> None:
    text = listing.names(downstream.registry)
    families = s3prl_catalogue.families()
    usable = [family for family in families.values() if family.problem is None]
    assert f"s3prl encoders (-u s3prl:NAME): {len(usable)} of the {len(families)} families of s3prl" in text
    assert all(f"\n  {name} " in text for name in families)
    published = [entry for family in usable for entry in family.entries if not entry.endswith(listing.OWN_CHECKPOINT)]
    assert all(entry in text for entry in published)


def test_a_family_that_cannot_be_imported_is_listed_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Family("byol_s", ("byol_s_default",), frozenset(), "torchaudio has no set_audio_backend")
    monkeypatch.setattr(s3prl_catalogue, "families", lambda: {"byol_s": broken})
    text = listing.names(downstream.registry)
    assert "0 of the 1 families" in text
    assert "  byol_s  cannot be imported: torchaudio has no set_audio_backend\n" in text


def test_without_s3prl_the_list_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3prl_catalogue, "families", dict)
    assert "s3prl encoders (-u s3prl:NAME)\n  none: s3prl is not installed: pip install s3prl" in listing.names(downstream.registry)


def test_listing_imports_neither_torch_nor_s3prl(repository: Path) -> None:
    code = "import sys, run_downstream; run_downstream.main(['--list']); assert not {'torch', 'torchaudio', 's3prl'} & sys.modules.keys()"
    result = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
