"""Own data from a plain manifest, and an error with file and line for everything that can be wrong in it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from corpus import manifest
from corpus.audio import read_audio
from corpus.batch import load_batch
from corpus.errors import DataError
from tests.corpus.make import streamed_flac, write_tone


@pytest.fixture
def folder(tmp_path):
    write_tone(tmp_path / "wavs/a.wav", 1.0)
    write_tone(tmp_path / "wavs/b.flac", 0.5, rate=8000, channels=2)
    return tmp_path


def test_tsv_csv_and_jsonl_say_the_same(folder):
    rows = [
        {"path": "wavs/a.wav", "id": "one", "speaker": "s1", "text": 'he said "no, no"', "intent": "refuse"},
        {"path": "wavs/b.flac", "id": "two", "speaker": "s2", "text": "yes", "intent": "agree"},
    ]
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    (folder / "m.tsv").write_text("\n".join("\t".join(values) for values in [rows[0], *(row.values() for row in rows)]) + "\n")
    quoted = [",".join('"' + value.replace('"', '""') + '"' for value in values) for values in [rows[0], *(row.values() for row in rows)]]
    (folder / "m.csv").write_text("\ufeff" + "\r\n".join(quoted), encoding="utf-8")
    cuts = list(manifest.read(folder / "m.jsonl"))
    assert [cut.id for cut in cuts] == ["one", "two"]
    supervision = cuts[0].supervisions[0]
    assert (supervision.text, supervision.speaker, supervision.custom) == ('he said "no, no"', "s1", {"intent": "refuse"})
    assert list(manifest.read(folder / "m.tsv")) == list(manifest.read(folder / "m.csv")) == cuts
    assert load_batch(cuts).lengths.tolist() == [16_000, 8000]


def test_parts_of_a_file_are_utterances(folder):
    (folder / "m.csv").write_text("path,id,start,duration\nwavs/a.wav,x,0.25,0.5\nwavs/a.wav,y,0.75,\nwavs/a.wav,z,,0.1\n")
    whole = read_audio(folder / "wavs/a.wav")
    batch = load_batch(manifest.read(folder / "m.csv"))
    assert batch.lengths.tolist() == [8000, 4000, 1600]
    assert np.array_equal(batch.wavs[0], whole[4000:12_000])
    assert np.array_equal(batch.wavs[1, :4000], whole[12_000:])


def test_without_an_id_the_path_names_the_utterance(folder):
    (folder / "m.csv").write_text("path\nwavs/a.wav\nwavs/b.flac\n")
    assert [cut.id for cut in manifest.read(folder / "m.csv")] == ["wavs/a", "wavs/b"]


def test_labels_of_jsonl_keep_their_type(folder):
    (folder / "m.jsonl").write_text('{"path": "wavs/a.wav", "score": 3, "tags": ["x"], "none": null}\n')
    assert manifest.read(folder / "m.jsonl")[0].supervisions[0].custom == {"score": 3, "tags": ["x"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "file,text\nwavs/a.wav,x\n", r"m\.csv, line 1: the header needs a column 'path'"),
        ("m.csv", "path,label,label\n", "line 1: .*no column twice"),
        ("m.csv", "path,label\nwavs/a.wav\n", "line 2: 1 values for 2 columns"),
        ("m.csv", "path\nwavs/a.wav\nwavs/none.wav\n", r"line 3: no such audio file: .*none\.wav"),
        ("m.csv", "path,id\nwavs/a.wav,x\nwavs/b.flac,x\n", "line 3: the id 'x' stands in line 2 already"),
        ("m.csv", "path,start\nwavs/a.wav,soon\n", "line 2: start is 'soon'"),
        ("m.csv", "path,duration\nwavs/a.wav,nan\n", "line 2: duration is 'nan'"),
        ("m.csv", "path,start\nwavs/a.wav,-1\n", "line 2: start is '-1'"),
        ("m.csv", "path,start,duration\nwavs/a.wav,0.5,1.5\n", r"line 2: from 0\.5 s for 1\.5 s is not within"),
        ("m.csv", "path,duration\nwavs/a.wav,0\n", "line 2: .*is not within"),
        ("m.csv", "path\nm.csv\n", r"line 2: .*m\.csv is not audio"),
        ("m.csv", "path,label\nwavs/a.wav,\n", "line 2: no label"),
        ("m.csv", "path\n", "lists no utterance"),
        ("m.csv", "", "line 1: the header"),
        ("m.jsonl", '{"path": "wavs/a.wav", "label": 1}\nnot json\n', "line 2: not JSON"),
        ("m.jsonl", '["wavs/a.wav"]\n', "line 1: a line is a JSON object"),
        ("m.jsonl", '{"label": "x"}\n', "line 1: no path"),
        ("m.txt", "path\n", r"a manifest is a \.tsv"),
    ],
)
def test_mistakes_are_named_with_their_line(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        manifest.read(folder / name, required=("label",) if "no label" in message else ())
    assert str(folder / name) in str(error.value)


def test_a_missing_manifest_and_one_in_another_encoding_are_named(folder):
    with pytest.raises(DataError, match="no such manifest"):
        manifest.read(folder / "none.csv")
    (folder / "m.csv").write_bytes("path,text\nwavs/a.wav,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"m\.csv is not UTF-8"):
        manifest.read(folder / "m.csv")


def test_audio_of_unknown_length_is_named(folder):
    streamed_flac(folder / "wavs/b.flac")
    (folder / "m.csv").write_text("path\nwavs/b.flac\n")
    with pytest.raises(DataError, match=r"line 2: the header of .*b\.flac does not say how long"):
        manifest.read(folder / "m.csv")
