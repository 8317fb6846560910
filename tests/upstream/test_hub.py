"""Checkpoints from the hub: what is downloaded, from which commit, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import upstream
from tests.upstream import make
from tests.upstream.fake_hub import NOBODY, FakeHub, fake_hub, find_in_process, use_hub
from upstream.errors import UpstreamError
from upstream.folder import shards
from upstream.formats.tera import write_s3prl

PUBLISHED = "tera_logMelBase_T_F_M_AdamW_b32_1m_960hr_drop1/states-1000000.ckpt"
WEIGHTS = bytes(range(256)) * 4000
FOLDER = {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": b"x", "tf_model.h5": b"x"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as made:
        use_hub(monkeypatch, made.address, tmp_path)
        yield made


def find(*checkpoints: str) -> list[str]:
    """What is found for each, or the error."""
    found = []
    for text in checkpoints:
        try:
            found.append(str(upstream.find_checkpoint(text)))
        except UpstreamError as error:
            found.append(str(error))
    return found


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_native_folders_single_files_and_the_published_model_are_served(hub: FakeHub, tmp_path: Path, repository: Path) -> None:
    model = make.tera()
    model.save_native(tmp_path / "native")
    hub.commit("someone/tera", tmp_path / "native")
    write_s3prl(tmp_path / "published.ckpt", model.config, model.encoder.state_dict())
    hub.commit("s3prl/tera", {PUBLISHED: (tmp_path / "published.ckpt").read_bytes()})
    url = f"https://huggingface.co/s3prl/tera/resolve/main/{PUBLISHED}"
    found = find_in_process(hub.address, tmp_path, repository, "someone/tera", f"s3prl/tera/{PUBLISHED}", "", url)
    assert len(found) == 4
    for path in found:
        assert upstream.fingerprint(upstream.load("tera", path)) == upstream.fingerprint(model)
    for address, offline in ((NOBODY, "0"), (hub.address, "1")):  # from the cache
        assert find_in_process(address, tmp_path, repository, "", "someone/tera", HF_HUB_OFFLINE=offline) == [found[2], found[0]]


def test_only_what_an_encoder_needs_is_downloaded(hub: FakeHub) -> None:
    hub.commit("o/safe", FOLDER | {"pytorch_model.bin": b"x"})
    index = {"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin", "c": "pytorch_model-1.bin"}}
    files = {"config.json": b"{}", "pytorch_model.bin.index.json": json.dumps(index).encode()}
    hub.commit("o/shards", files | {"pytorch_model-1.bin": b"1", "pytorch_model-2.bin": b"2", "pytorch_model-3.bin": b"3"})
    hub.commit("o/single", {"model.pt": b"1", "README.md": b"x", "old/model.pt": b"2"})
    safe, sharded, single, url = find("o/safe", "o/shards", "o/single", "https://huggingface.co/o/safe/tree/main")
    assert names(safe) == {"config.json", "preprocessor_config.json", "model.safetensors"} and url == safe
    assert names(sharded) == {"config.json", "pytorch_model.bin.index.json", "pytorch_model-1.bin", "pytorch_model-2.bin"}
    assert Path(single).read_bytes() == b"1"
    assert hub.requests["GET model.safetensors"] == 1


def test_heads_and_letters_come_along_where_there_are_such(hub: FakeHub) -> None:
    beside = ("weir-heads.safetensors", "vocab.json", "tokenizer_config.json", "processor_config.json")
    hub.commit("o/ctc", FOLDER | dict.fromkeys(beside, b"{}"))
    (found,) = find("o/ctc")
    assert names(found) == {"config.json", "preprocessor_config.json", "model.safetensors", *beside}


def test_revision_pins_all_files_to_one_commit(hub: FakeHub) -> None:
    old = hub.commit("o/model", FOLDER | {"model.safetensors": b"old"}, revision="v1")
    new = hub.commit("o/model", FOLDER | {"model.safetensors": b"new"})
    texts = ("o/model", "o/model@v1", f"o/model@{old}", "o/model@v1/model.safetensors", "o/model@v2")
    now, tag, commit, file, unknown = find(*texts)
    assert Path(now).name == new and (Path(now) / "model.safetensors").read_bytes() == b"new"
    assert tag == commit and Path(tag).name == old and Path(file).read_bytes() == b"old"
    assert "(revision v2) is no path here; on the hub: the repository has no such branch, tag or commit" in unknown
    hub.commit("o/model", FOLDER | {"model.safetensors": b"newer"})
    moved, pinned = find("o/model", f"o/model@{old}")
    assert (Path(moved) / "model.safetensors").read_bytes() == b"newer" and pinned == tag


def test_what_is_missing_is_one_clear_error(hub: FakeHub) -> None:
    hub.commit("o/model", FOLDER)
    hub.commit("o/several", {"a.pt": b"", "b.ckpt": b"", "README.md": b""})
    hub.commit("o/bare", {"config.json": b"{}", "flax_model.msgpack": b""})
    texts = ("o/none", "o/model/none.pt", "o/several", "o/bare")
    none, file, several, bare = find(*texts)
    assert none.startswith("'o/none' (revision main) is no path here; on the hub: there is no such public repository; set HF_TOKEN for")
    assert "'none.pt' of 'o/model' (revision main) on the hub: the repository has no such file; name one as -k o/model/FILE" in file
    assert "there is no config.json; it has: a.pt, b.ckpt; name one as -k o/several/FILE" in several
    assert "there is config.json, but none of model.safetensors" in bare and "flax_model.msgpack" in bare


def test_interrupted_download_goes_on_and_is_whole(hub: FakeHub) -> None:
    hub.commit("o/model", FOLDER)
    hub.cuts["model.safetensors"] = 2
    (found,) = find("o/model")
    assert (Path(found) / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.requests["GET model.safetensors"] + hub.requests["RANGE model.safetensors"] == 3


def test_half_a_file_never_counts_as_whole(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("o/model", FOLDER)
    hub.cuts["model.safetensors"] = 1000
    (broken,) = find("o/model")
    assert "'model.safetensors' of 'o/model'" in broken and "could not be fetched" in broken
    assert not [path for path in tmp_path.rglob("model.safetensors") if path.exists()]
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    (absent,) = find("o/model")
    assert "could not be fetched (ConnectError" in absent
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    hub.cuts.clear()
    (found,) = find("o/model")
    assert (Path(found) / "model.safetensors").read_bytes() == WEIGHTS


def test_offline_takes_the_cache_or_says_that_it_may_not_ask(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("o/model", FOLDER)
    use_hub(monkeypatch, hub.address, tmp_path, offline=True)
    (refused,) = find("o/model")
    offline = "HF_HUB_OFFLINE is set and the cache has not all of it; unset it once, "
    assert f"{offline}name a single file as -k o/model/FILE, or give a checkpoint" in refused
    with pytest.raises(UpstreamError, match=f"{offline}or give a checkpoint on this machine with -k PATH, or -k tera-mini"):
        upstream.load("tera")
    use_hub(monkeypatch, hub.address, tmp_path)
    (found,) = find("o/model")
    asked = hub.requests.copy()
    texts = ("o/model", "o/model/model.safetensors", "o/other/model.pt")
    use_hub(monkeypatch, hub.address, tmp_path, offline=True)
    folder, file, other = find(*texts)
    assert (folder, file) == (found, f"{found}/model.safetensors") and "HF_HUB_OFFLINE is set" in other
    assert hub.requests == asked


def test_wrong_checksum_is_deleted_and_named(hub: FakeHub, tmp_path: Path) -> None:
    hub.commit("o/model", FOLDER)
    hub.digests["model.safetensors"] = "0" * 64
    (wrong,) = find("o/model")
    assert f"the download has sha256 {hashlib.sha256(WEIGHTS).hexdigest()}, expected {'0' * 64}; it was deleted: try again" in wrong
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == len(WEIGHTS)]
    hub.digests.clear()
    (found,) = find("o/model")
    assert (Path(found) / "model.safetensors").read_bytes() == WEIGHTS


def test_gated_repository_asks_for_a_token(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit("o/gated", FOLDER)
    hub.gated.add("o/gated")
    (none,) = find("o/gated")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    (wrong,) = find("o/gated/model.safetensors")
    for refused, status in ((none, 401), (wrong, 403)):
        assert f"it is gated (HTTP {status}); accept its conditions on its page and set HF_TOKEN to a token of that account, or" in refused
    monkeypatch.setenv("HF_TOKEN", hub.token)
    (found,) = find("o/gated")
    assert (Path(found) / "model.safetensors").read_bytes() == WEIGHTS


def test_hub_that_is_down_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_hub(monkeypatch, NOBODY, tmp_path)
    with pytest.raises(UpstreamError) as caught:
        upstream.load("tera")
    silent = str(caught.value)
    assert silent.startswith(f"tera: the published checkpoint '{PUBLISHED}' of 's3prl/tera' (revision main) on the hub: it could not")
    assert "; give a checkpoint on this machine with -k PATH" in silent


def test_sha256_of_a_card_must_be_that_of_the_hub(hub: FakeHub) -> None:
    hub.commit("o/model", {"model.pt": WEIGHTS})
    published = {"repo": "o/model", "file": "model.pt", "sha256": "1" * 64}
    with pytest.raises(UpstreamError, match=r"x: the published checkpoint 'model\.pt'.*expected 1{64}: it was replaced; pin the revision"):
        upstream.published_checkpoint("x", published)
    assert hub.requests["GET model.pt"] == 0


@pytest.mark.parametrize("index", ["{}", "no json", '{"weight_map": {"a": "../../etc/passwd"}}', '{"weight_map": {"a": 1}}'])
def test_index_that_names_no_shards_is_an_error(index: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(UpstreamError, match=r"model\.safetensors\.index\.json: (is not an index|names )"):
        shards(path)
