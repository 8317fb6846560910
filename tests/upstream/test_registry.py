"""Finding names without importing what they name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import upstream
from upstream.errors import UpstreamError
from upstream.registry import Registry, modules_in


def registry(**own: str) -> Registry:
    """A registry of the group `weir.upstreams`."""
    return Registry("thing", UpstreamError, lambda: own, "weir.upstreams", lambda: {"other": "json"})


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package installed elsewhere that brings an encoder named `third`."""
    folder = tmp_path / "third_party-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[weir.upstreams]\nthird = third_party:Third\n")
    (tmp_path / "third_party.py").write_text("class Third:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_modules_and_attributes_are_loaded_by_name_or_alias() -> None:
    import json

    found = registry(json="json", decoder="json:JSONDecoder")
    assert found.names() == ["decoder", "json"]
    assert found.load("decoder") is json.JSONDecoder
    assert found.load("other") is json
    assert found.resolve("other") == "json"


def test_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(UpstreamError, match="unknown upstream 'teraa': did you mean 'tera'\\? known: audio_albert, data2vec, "):
        upstream.load("teraa")
    with pytest.raises(UpstreamError, match="unknown thing 'qqq'; known: json"):
        registry(json="json").resolve("qqq")


def test_other_packages_add_names_through_entry_points(outside: Path) -> None:
    found = registry(json="json")
    assert found.names() == ["json", "third"]
    assert found.load("third").__name__ == "Third"


def test_two_packages_with_one_name_are_refused(outside: Path) -> None:
    with pytest.raises(UpstreamError, match="two things are called 'third': mine:Third and third_party:Third"):
        registry(third="mine:Third").names()


def test_modules_of_a_folder_are_found_without_importing_them(tmp_path: Path) -> None:
    for name in ("__init__", "asr", "_private", "heads"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    assert modules_in(tmp_path, "downstream", without=["heads"]) == {"asr": "downstream.asr"}


def test_names_from_older_commands_are_aliases() -> None:
    for alias in ("tera_local", "tera_url", "tera_960hr", "tera_logMelBase_T_F_M_AdamW_b32_1m_960hr_drop1"):
        assert upstream.registry.resolve(alias) == "tera"
    assert upstream.registry.resolve("baseline") == "fbank"


def test_listing_imports_no_encoder_and_no_torch(tmp_path: Path, repository: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(repository)!r}); import upstream; lines = [upstream.describe(n) for n in upstream.names()];"
        "assert len(lines) >= 4; upstream.check('tera', 'x'); heavy = {'torch', 'pydantic', 'numpy', 'upstream.tera'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_every_card_is_complete() -> None:
    for name in upstream.names():
        card = upstream.card(name)
        assert 0 < len(card.description) < 140, name
        if card.published:
            assert card.published.keys() == {"repo", "file", "revision", "checked"}


def test_a_member_is_named_behind_a_colon_and_only_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UpstreamError, match="'tera:base': tera has no members; use -u tera"):
        upstream.check("tera:base")
    zoo = upstream.Card("zoo", "zoo:Zoo", members="an animal")
    monkeypatch.setattr(upstream.cards, "cards", lambda: {"zoo": zoo})
    monkeypatch.setattr(upstream.registry, "targets", {"zoo": "zoo:Zoo"})
    assert upstream.check("zoo:cat") == "zoo:cat"
    with pytest.raises(UpstreamError, match="needs a name behind a colon: -u zoo:NAME, where NAME is an animal"):
        upstream.check("zoo")


def test_two_cards_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = {name: upstream.Card(name, "zoo:Zoo", aliases=("pet",)) for name in ("cat", "dog")}
    monkeypatch.setattr(upstream.cards, "cards", lambda: zoo)
    with pytest.raises(UpstreamError, match="'pet' names both cat and dog"):
        upstream.cards.aliases()


def test_encoder_without_published_weights_asks_for_a_checkpoint_before_anything_is_built() -> None:
    upstream.require_weights("hubert", None)
    upstream.require_weights("tera2", "some.pt")
    with pytest.raises(UpstreamError, match="'tera2' needs a checkpoint, as no published one is known"):
        upstream.require_weights("tera2", None)


def test_shipped_checkpoint_given_as_an_upstream_is_answered_with_the_command() -> None:
    with pytest.raises(UpstreamError, match="'tera-mini' is a checkpoint, no upstream; give it with -k: -u tera -k tera-mini"):
        upstream.check("tera-mini")


def test_nearest_name_is_a_published_model_before_an_alias() -> None:
    with pytest.raises(UpstreamError, match="did you mean 'hubert_large_ll60k'"):
        upstream.check("hubert_larg")


def test_class_that_does_not_say_how_checkpoints_are_read_is_one_error(tmp_path: Path) -> None:
    from upstream.base import Upstream

    class Silent(Upstream):
        def forward(self, wavs, lengths):  # type: ignore[no-untyped-def]
            raise AssertionError("is never built")

    with pytest.raises(UpstreamError, match="Silent takes a checkpoint and does not say in from_checkpoint how it is read"):
        Silent.from_checkpoint(tmp_path)
