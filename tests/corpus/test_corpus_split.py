import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.corpus.documents import Document
from groundup.corpus.split import split_documents

ids = st.lists(st.integers(0, 10**9).map(str), unique=True, min_size=2, max_size=60)


def documents_of(names):
    return [Document(name, f"text of {name}") for name in names]


@given(ids, st.floats(0.01, 0.99), st.integers(0, 100))
def test_every_document_is_on_one_side_and_no_side_is_empty(names, fraction, seed):
    train, heldout = split_documents(documents_of(names), fraction, seed)
    assert sorted(d.id for d in (*train, *heldout)) == sorted(names)
    assert train
    assert heldout


def test_a_held_out_set_can_be_split_again():
    heldout = split_documents(documents_of(map(str, range(500))), 0.05, seed=1)[1]
    train, again = split_documents(heldout, 0.05, seed=1)
    assert len(again) == 1
    assert len(train) == len(heldout) - 1 > 10


def test_adding_documents_moves_none():
    small, large = documents_of(map(str, range(200))), documents_of(map(str, range(1000)))
    held = {d.id for d in split_documents(small, 0.1, seed=1)[1]}
    held_later = {d.id for d in split_documents(large[::-1], 0.1, seed=1)[1]}
    assert held == {name for name in held_later if int(name) < 200}
    assert len(held_later) == pytest.approx(100, abs=30)


def test_the_seed_decides():
    documents = documents_of(map(str, range(200)))
    first, again, other = (split_documents(documents, 0.2, seed=s)[1] for s in (1, 1, 2))
    assert first == again != other


@given(ids, st.integers(0, 100))
def test_clusters_never_straddle(names, seed):
    keys = {name: names[i // 3 * 3] for i, name in enumerate(names)}
    if len(names) <= 3:
        with pytest.raises(InputError, match="near copies of each other"):
            split_documents(documents_of(names), 0.4, seed, keys)
        return
    train, heldout = split_documents(documents_of(names), 0.4, seed, keys)
    assert {keys[d.id] for d in train}.isdisjoint(keys[d.id] for d in heldout)


def test_one_document_is_cut_at_a_blank_line():
    text = "\n\n".join(f"Paragraph {i} is here." for i in range(100))
    (front,), (back,) = split_documents([Document("only", text)], 0.05, seed=0)
    assert front.text + "\n\n" + back.text == text
    assert 0.03 < len(back.text) / len(text) < 0.08
    assert (front.id, back.id) == ("only:front", "only:back")


def test_nothing_is_held_out_where_nothing_is_asked():
    documents = documents_of("ab")
    assert split_documents(documents, 0.0, seed=0) == (documents, [])
