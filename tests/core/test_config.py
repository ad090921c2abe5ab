"""Configs: JSON round trip, and the sentence for each way in which a file can be wrong."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.config import WATCHING, decode, encode, fingerprint, load, nearest
from groundup.core.errors import ConfigError, InputError, MissingError


@dataclass(frozen=True)
class Leaf:
    """A config inside a config."""

    width: int = 64
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width must be at least 1, found {self.width}; choose a positive number.")


@dataclass(frozen=True)
class Other:
    """A second class for unions and pairs."""

    height: int


@dataclass(frozen=True)
class Tree:
    """Every kind of field that configs use."""

    name: str = "tree"
    flag: bool = False
    leaf: Leaf = field(default_factory=Leaf)
    spare: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[Leaf, Other] = (Leaf(), Other(1))
    many: list[Leaf] = field(default_factory=list)
    either: Leaf | Other = field(default_factory=Leaf)
    named: dict[str, Leaf] = field(default_factory=dict)
    sizes: tuple[int, ...] = (1, 2)
    path: Path = Path("data")
    area: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", self.leaf.width**2)


numbers = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.builds(Leaf, width=st.integers(1, 2**40), rate=numbers)
others = st.builds(Other, height=st.integers())
trees = st.builds(
    Tree,
    name=st.text(),
    flag=st.booleans(),
    leaf=leaves,
    spare=st.none() | leaves,
    leaves=st.lists(leaves, max_size=3).map(tuple),
    pair=st.tuples(leaves, others),
    many=st.lists(leaves, max_size=3),
    either=leaves | others,
    named=st.dictionaries(st.text(), leaves, max_size=3),
    sizes=st.lists(st.integers(), max_size=3).map(tuple),
    path=st.lists(st.text("abc._-", min_size=1), max_size=3).map(lambda parts: Path(*parts)),
)


@given(trees)
def test_decode_undoes_encode(tree: Tree) -> None:
    assert decode(Tree, json.loads(json.dumps(encode(tree)))) == tree


@given(trees, trees)
def test_fingerprints_are_equal_exactly_when_the_json_is(first: Tree, second: Tree) -> None:
    same = json.dumps(encode(first), sort_keys=True) == json.dumps(encode(second), sort_keys=True)
    assert (fingerprint(first) == fingerprint(second)) == same


def test_fingerprint_ignores_the_order_of_keys_and_counts_every_value() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(Leaf(1), "x") != fingerprint(Leaf(1), "y")
    assert fingerprint(Path("odd-\udcff")) != fingerprint(Path("odd-\udcfe")), "a file name need not be UTF-8"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"nmae": "x"}, "file.json: unknown key 'nmae'; did you mean 'name'?"),
        ({"leaf": {"widht": 1}}, "file.json: unknown key 'leaf.widht'; did you mean 'width'?"),
        ({"spare": {"widht": 1}}, "file.json: unknown key 'spare.widht'; did you mean 'width'?"),
        ({"leaves": [{}, {"widht": 1}]}, "file.json: unknown key 'leaves[1].widht'; did you mean 'width'?"),
        ({"many": [{"widht": 1}]}, "file.json: unknown key 'many[0].widht'; did you mean 'width'?"),
        ({"pair": [{}, {"heihgt": 1}]}, "file.json: unknown key 'pair[1].heihgt'; did you mean 'height'?"),
        ({"either": {"height": 1, "x": 2}}, "file.json: unknown key 'either.x'; known: height."),
        ({"named": {"a": {"q": 1}}}, "file.json: unknown key 'named.a.q'; known: rate, width."),
        ({"area": 3}, "file.json: unknown key 'area'; did you mean 'spare'?"),
        ([1], "file.json: Tree must be an object with named fields (found [1])."),
        ({"leaf": 3}, "file.json: leaf must be an object with named fields (found 3)."),
    ],
)
def test_unknown_keys_are_named_with_the_nearest_field(data: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(Tree, data, "file.json")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("data", "place", "found"),
    [
        ({"leaf": {"width": "64"}}, "leaf.width", '"64"'),
        ({"leaf": {"width": 1.5}}, "leaf.width", "1.5"),
        ({"leaf": {"width": True}}, "leaf.width", "true"),
        ({"leaf": {"width": None}}, "leaf.width", "null"),
        ({"flag": 1}, "flag", "1"),
        ({"name": 7}, "name", "7"),
        ({"sizes": [1, "2"]}, "sizes.1", '"2"'),
        ({"name": ["a" * 99]}, "name", "..."),
    ],
)
def test_wrong_types_are_named_and_never_converted(data: Any, place: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(Tree, data, "../file.json")
    sentence = str(caught.value)
    assert sentence.startswith(f"../file.json: {place}: "), sentence
    assert sentence.endswith(f"{found})."), sentence


def test_the_only_widening_is_a_whole_number_for_a_float() -> None:
    assert decode(Leaf, {"rate": 1}) == Leaf(rate=1.0)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^config: height: this field is required and is not there\.$"):
        decode(Other, {})


def test_the_sentence_of_post_init_arrives_whole() -> None:
    with pytest.raises(ConfigError) as caught:
        decode(Tree, {"leaf": {"width": -3}}, "c.json")
    assert str(caught.value) == "c.json: leaf: width must be at least 1, found -3; choose a positive number."


def test_load_names_a_file_that_is_missing_broken_or_of_another_shape(tmp_path: Path) -> None:
    path = tmp_path / "leaf.json"
    with pytest.raises(MissingError, match=r"There is no file .*leaf\.json; check the path"):
        load(Leaf, path)
    for broken in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"leaf\.json is not valid JSON"):
            load(Leaf, path)
    path.write_text('{"width": 2, "rate": 0.25}')
    assert load(Leaf, path) == Leaf(2, 0.25)


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_nearest_suggests_only_what_is_known(word: str, known: list[str]) -> None:
    hint = nearest(word, known)
    assert any(f"did you mean {name!r}?" == hint for name in known) or hint == f"known: {', '.join(sorted(known))}."


def test_how_something_is_watched_is_encoded_but_not_fingerprinted() -> None:
    @dataclass(frozen=True)
    class Watched:
        steps: int = 1
        shown: tuple[str, ...] = field(default=(), metadata=WATCHING)

    @dataclass(frozen=True)
    class Several:
        runs: tuple[Watched, ...]
        by_name: dict[str, Watched]

    def several(first: Watched, second: Watched) -> Several:
        return Several((first,), {"second": second})

    assert encode(Watched(shown=("a",))) == {"steps": 1, "shown": ["a"]}
    plain = fingerprint(several(Watched(), Watched()))
    assert plain == fingerprint(several(Watched(shown=("a",)), Watched(shown=("b",))))
    assert plain != fingerprint(several(Watched(), Watched(steps=2)))
