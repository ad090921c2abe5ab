import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import InputError, MissingError, OutputError
from groundup.corpus.documents import Document, drop, read_jsonl, read_texts, repair_surrogates, write_jsonl

texts = st.text(st.characters(exclude_categories=("Cs",)))
documents = st.builds(
    Document,
    id=texts,
    text=texts,
    url=st.none() | texts,
    source=texts,
    meta=st.dictionaries(texts, st.integers() | texts, max_size=3),
    drop_stage=st.none() | texts,
    drop_reason=st.none() | texts,
)


@settings(max_examples=50)
@given(st.lists(documents, max_size=5), st.sampled_from(["d.jsonl", "d.jsonl.gz"]))
def test_jsonl_round_trip(tmp_path_factory, written, name):
    path = tmp_path_factory.mktemp("jsonl") / name
    assert write_jsonl(path, iter(written)) == len(written)
    # An empty url or reason is written as absent: both mean "none".
    expected = [
        Document(d.id, d.text, d.url or None, d.source, d.meta, d.drop_stage or None, d.drop_reason or None)
        for d in written
    ]
    assert list(read_jsonl(path)) == expected
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_gzip_bytes_depend_on_the_documents_alone(tmp_path):
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_jsonl(tmp_path / name, [Document("a", "text")])
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes())) == {"id": "a", "text": "text"}


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "d.jsonl"
    write_jsonl(path, [Document("old", "text")])

    def broken():
        yield Document("new", "text")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())
    assert [d.id for d in read_jsonl(path)] == ["old"]
    assert len(list(tmp_path.iterdir())) == 1


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        write_jsonl(tmp_path / "file" / "d.jsonl", [])


@pytest.mark.parametrize("line", ['{"txt": "a"}', '{"text": 3}', "[1]", "{broken", "\x00\x01"])
def test_a_bad_line_is_named_with_its_number(tmp_path, line):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n")
    with pytest.raises(InputError, match=r"bad\.jsonl line 3"):
        list(read_jsonl(path))


def test_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    write_jsonl(path, [Document(str(i), "some text " * i) for i in range(50)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz is not a whole gzip file"):
        list(read_jsonl(path))


def test_half_surrogates_are_repaired(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"text": "a\\ud800b \\ud83d\\ude00"}\n')
    assert next(read_jsonl(path)).text == "a\ufffdb \U0001f600"
    assert repair_surrogates("whole \U0001f600") == "whole \U0001f600"


def test_read_texts_wants_a_finished_corpus(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [Document("a", "learn this")])
    write_jsonl(tmp_path / "heldout.jsonl", [Document("b", "hold this")])
    with pytest.raises(MissingError, match="no finished corpus"):
        read_texts(tmp_path, "train")
    (tmp_path / "result.json").write_text("{}")
    assert read_texts(tmp_path, "train") == ["learn this"]
    assert read_texts(tmp_path, "heldout") == ["hold this"]
    with pytest.raises(InputError, match="no split 'test'"):
        read_texts(tmp_path, "test")
    with pytest.raises(MissingError, match="no corpus folder"):
        read_texts(tmp_path / "elsewhere", "train")


def test_drop_annotates_a_copy():
    document = Document("a", "text")
    assert (drop(document, "stage", "reason").drop_reason, document.drop_reason) == ("reason", None)
