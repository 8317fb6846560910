"""The RoBERTa over vq-wav2vec codes: sizes, tokens, checkpoints in three formats, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import upstream
from tests.upstream import make, roberta_files, wav2vec_files
from upstream import cards
from upstream.errors import UpstreamError
from upstream.formats import roberta as roberta_format
from upstream.formats.roberta import read, read_config, write_fairseq, write_s3prl
from upstream.roberta import VqWav2VecRoberta
from upstream.roberta_config import RobertaConfig, read_dictionary, spread_dictionary, token_table
from upstream.wav2vec_config import QuantizerConfig, Wav2VecConfig

pytestmark = pytest.mark.filterwarnings("ignore")
KMEANS = QuantizerConfig(kind="kmeans", codes=4)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A file of s3prl with its vq-wav2vec beside it, and the file's weights."""
    folder = tmp_path / "s3prl"
    folder.mkdir()
    return roberta_files.s3prl_files(folder)


def save_native(folder: Path, source: Path) -> Path:
    """The native folder made from a checkpoint, heads included."""
    _, tensors, _ = read(source)
    heads = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    VqWav2VecRoberta.from_checkpoint(source).save_native(folder, heads)
    return folder


def assert_equal_weights(path: Path, key: str, expected: dict[str, Tensor]) -> None:
    """A file holds these weights, bit for bit."""
    found = torch.load(path, weights_only=False)[key]  # written by this test
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_published_size_is_that_of_bert_base() -> None:
    config = upstream.card("vq_wav2vec_roberta").config
    with torch.device("meta"):
        model = VqWav2VecRoberta.from_config(config)
    # BERT base's 12 layers of 7,087,872; 23,000 pairs with 5 other tokens; 2048 positions behind 2 unused rows; a layer norm.
    assert sum(parameter.numel() for parameter in model.parameters()) == 12 * 7_087_872 + (23_005 + 2_050 + 2) * 768
    # The tokenizer's constants: vq_wav2vec_kmeans without aggregator (23,611,392) and prediction head (3,146,240).
    assert sum(buffer.numel() for buffer in model.encoder.tokenizer.buffers()) == 33_014_272 - 23_611_392 - 3_146_240
    assert (model.num_states, model.dim, model.stride, model.minimum_samples) == (13, 768, 160, 465)


def test_names_of_s3prl_are_aliases() -> None:
    assert {upstream.resolve(name) for name in ("vq_wav2vec_kmeans_roberta", "discretebert")} == {"vq_wav2vec_roberta"}


def test_tokens_follow_the_dictionary() -> None:
    tokens = read_dictionary("1-2 70\n0-3 5\nmadeupword0000 0\n")
    assert tokens == {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "1-2": 4, "0-3": 5, "madeupword0000": 6, "<mask>": 7}
    tokenizer = Wav2VecConfig(conv_layers=((8, 10, 5),), quantizer=KMEANS)
    table = token_table(RobertaConfig(tokenizer=tokenizer, dictionary="1-2 70\n0-3 5\n9-9 1\n")).view(4, 4)
    assert table[1, 2] == 4
    assert table[0, 3] == 5
    assert (table == 3).sum() == 14


@pytest.mark.parametrize("words", [1, 5, 16])
def test_a_spread_dictionary_has_so_many_different_pairs(words: int) -> None:
    assert len(read_dictionary(spread_dictionary(words, KMEANS))) == words + 5


@torch.no_grad()
def test_an_utterance_is_a_sentence_between_start_and_end() -> None:
    model = make.build("vq_wav2vec_roberta")
    assert isinstance(model, VqWav2VecRoberta)
    tokens, counts = model.encoder.tokenize(*make.waveforms(16_000, 8_000))
    assert counts.tolist() == [100, 50]
    assert tokens[:, 0].tolist() == [0, 0]
    assert (int(tokens[0, 99]), int(tokens[1, 49])) == (2, 2)
    assert tokens[1, 50:].unique().tolist() == [1]
    assert len(tokens[0, 1:99].unique()) > 5


@torch.no_grad()
def test_tokens_are_the_same_under_half_precision() -> None:
    encoder = make.build("vq_wav2vec_roberta").encoder
    torch.nn.init.normal_(encoder.tokenizer.quantizer.codebook, generator=torch.Generator().manual_seed(1))
    wavs, lengths = make.waveforms(40_000, 24_000)
    codes, _ = encoder.tokenizer(wavs, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder.tokenizer(wavs, lengths)[0], codes)
    assert len(codes.unique()) > 4


def test_the_tokenizer_is_constant_but_travels_with_the_weights() -> None:
    model = make.build("vq_wav2vec_roberta")
    assert not [name for name, _ in model.named_parameters() if "tokenizer" in name]
    assert "encoder.tokenizer.quantizer.codebook" in model.state_dict()


@pytest.mark.parametrize("untied", [False, True])
def test_files_go_to_native_and_back_bit_equal(untied: bool, tmp_path: Path) -> None:
    source, weights = roberta_files.s3prl_files(tmp_path, untie_weights_roberta=untied)
    codes = torch.load(tmp_path / "vq-wav2vec_kmeans.pt", weights_only=True)["model_weight"]
    native = save_native(tmp_path / "native", source)
    for name in ("fairseq", "again"):
        (tmp_path / name).mkdir()
    write_fairseq(tmp_path / "fairseq" / "roberta.pt", *read(native)[:2])
    assert_equal_weights(tmp_path / "fairseq" / "roberta.pt", "model", weights)
    assert_equal_weights(tmp_path / "fairseq" / "vq-wav2vec_kmeans.pt", "model", codes)
    assert (tmp_path / "fairseq" / "dict.txt").read_text() == roberta_files.DICTIONARY
    write_s3prl(tmp_path / "again" / "roberta.pt", *read(tmp_path / "fairseq" / "roberta.pt")[:2])
    assert_equal_weights(tmp_path / "again" / "roberta.pt", "model_weight", weights)
    assert_equal_weights(tmp_path / "again" / "vq-wav2vec_kmeans.pt", "model_weight", codes)
    assert torch.load(tmp_path / "again" / "roberta.pt", weights_only=False)["text_dictionary"] == roberta_files.DICTIONARY
    prints = {upstream.fingerprint(upstream.load("discretebert", path)) for path in (source, native, tmp_path / "again" / "roberta.pt")}
    assert len(prints) == 1


def test_names_of_2019_are_read(files: tuple[Path, dict[str, Tensor]]) -> None:
    path, weights = files
    old: dict[str, Any] = {}
    for name, tensor in weights.items():
        renamed = name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm")
        stem, found, leaf = renamed.partition("self_attn.q_proj.")
        if found:
            joined = torch.cat([weights[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            old[f"{stem}self_attn.in_proj_{leaf}"] = joined
        elif "self_attn.k_proj" not in name and "self_attn.v_proj" not in name:
            old[renamed] = tensor
    content = torch.load(path, weights_only=False)
    _, expected, _ = read(path)
    torch.save(content | {"model_weight": old}, path.with_name("old.pt"))
    _, tensors, _ = read(path.with_name("old.pt"))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_the_published_tokenizer_is_fetched_where_none_is_beside(
    files: tuple[Path, dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = files
    fetched = path.with_name("vq-wav2vec_kmeans.pt").rename(tmp_path / "fetched.pt")
    asked = []

    def fetch(*what: Any) -> Path:
        asked.append(what)
        return fetched

    monkeypatch.setattr(roberta_format, "published_checkpoint", fetch)
    model = VqWav2VecRoberta.from_checkpoint(path)
    assert asked == [("vq_wav2vec_kmeans", cards.cards()["vq_wav2vec_kmeans"].published)]
    assert "codes come from the published vq_wav2vec_kmeans" in model.notes[0]


def test_files_in_the_way_of_writing_are_not_lost(files: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    config, tensors, _ = read(files[0])
    beside = tmp_path / "vq-wav2vec_kmeans.pt"
    wav2vec_files.s3prl_file(beside, seed=1, **wav2vec_files.KMEANS)
    with pytest.raises(UpstreamError, match=r"kmeans\.pt: is in the way, and is not this model's vq-wav2vec"):
        write_s3prl(tmp_path / "roberta.pt", config, tensors)
    beside.unlink()
    (tmp_path / "dict.txt").write_text("0-0 1\n")
    with pytest.raises(UpstreamError, match=r"dict\.txt: is in the way, and is another model's"):
        write_fairseq(tmp_path / "roberta.pt", config, tensors)
    assert not (tmp_path / "roberta.pt").exists()
    write_s3prl(files[0].with_name("second.pt"), config, tensors)  # the same vq-wav2vec stands there


def test_missing_and_unexpected_weights_are_named(files: tuple[Path, dict[str, Tensor]]) -> None:
    path, weights = files
    content = torch.load(path, weights_only=False)
    less = {name: tensor for name, tensor in weights.items() if name != "encoder.sentence_encoder.layers.1.fc1.bias"}
    other = path.with_name("other.pt")
    torch.save(content | {"model_weight": less}, other)
    with pytest.raises(UpstreamError, match=r"weights are missing: 'encoder\.sentence_encoder\.layers\.1\.fc1\.bias'"):
        read(other)
    torch.save(content | {"model_weight": weights | {"encoder.odd": torch.zeros(1)}}, other)
    with pytest.raises(UpstreamError, match=r"not part of the configured model: 'encoder\.odd'"):
        read(other)


def test_a_dictionary_of_another_size_does_not_fit(files: tuple[Path, dict[str, Tensor]]) -> None:
    content = torch.load(files[0], weights_only=False)
    torch.save(content | {"text_dictionary": "0-0 1\n"}, files[0])
    with pytest.raises(UpstreamError, match=r"'tokens\.weight' is \(156, 24\), expected \(6, 24\)"):
        VqWav2VecRoberta.from_checkpoint(files[0])


def test_fairseqs_file_needs_its_dictionary(files: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    config, tensors, _ = read(files[0])
    write_fairseq(tmp_path / "roberta.pt", config, tensors)
    (tmp_path / "dict.txt").unlink()
    with pytest.raises(UpstreamError, match=r"dict\.txt: cannot be read .* needs its dictionary beside roberta\.pt"):
        read(tmp_path / "roberta.pt")


@pytest.mark.parametrize(
    ("published", "dictionary", "message"),
    [
        ({"encoder_normalize_before": True}, "", "encoder_normalize_before = True is not how"),
        ({"encoder_layers": 0}, "", "'layers' = '0'"),
        ({}, "0-0\n", "line 1 of the dictionary is '0-0', not a word and its count"),
        ({}, "0-0 1\n0-0 1\n", "line 2 of the dictionary repeats '0-0'"),
    ],
)
def test_what_is_not_built_is_refused(published: dict[str, Any], dictionary: str, message: str) -> None:
    tokenizer = Wav2VecConfig(conv_layers=((8, 10, 5),), quantizer=KMEANS)
    with pytest.raises(UpstreamError, match=message):
        read_config(published, dictionary, tokenizer, "model.pt")


def test_a_tokenizer_without_codes_is_refused() -> None:
    with pytest.raises(UpstreamError, match="the tokenizer has no quantizer"):
        read_config({}, "", Wav2VecConfig(), "model.pt")
