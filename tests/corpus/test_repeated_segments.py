"""Lines that occur again cut out of a whole corpus: in memory, in jobs over work units, and by the verb."""

import random
from collections import Counter
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from crawl_inputs import config_of, crawl, prose

from groundup.cli.main import main
from groundup.corpus.config import RepeatedSegmentsConfig
from groundup.corpus.documents import Document, read_jsonl, write_jsonl
from groundup.corpus.filters.config import C4Config, HeuristicsConfig
from groundup.corpus.pipeline import build_corpus
from groundup.corpus.reading.formats import read_documents

MENU = ["Home and news of the village.", "All rights are reserved by the council.", "Read more about it in the garden."]


def pages():
    """Texts of ten sentences on a line each, with lines of a menu among them; one is nothing but the menu."""
    made = [
        Document(f"page-{i}", "\n".join([MENU[i % 3], "", *(prose(100 * i + k, 14) for k in range(10)), MENU[i % 2]]))
        for i in range(40)
    ]
    quotation = "\n".join(prose(7000 + k, 14) for k in range(4))
    made[5] = replace(made[5], text=f"{made[5].text}\n\n{quotation}")
    made[6] = replace(made[6], text=f"{made[6].text}\n\n{quotation}")
    return [*made, Document("menu", "\n".join(MENU * 5)), Document("twin", made[3].text.upper())]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segments") / "in"
    folder.mkdir()
    every = random.Random(3).sample(pages(), len(pages()))
    for part in range(3):
        write_jsonl(folder / f"{part}.jsonl.gz", every[part::3])
    return folder


def config(files, **options):
    segments = RepeatedSegmentsConfig(enabled=True, **options)
    return config_of(files, segments=segments, heuristics=HeuristicsConfig(enabled=False))


@pytest.mark.parametrize(
    "options",
    [{}, {"keep": "none"}, {"unit": "paragraph"}, {"unit": "sentences"}, {"unit": "sentences", "keep": "none"}],
    ids=str,
)
def test_a_crawl_cuts_what_is_cut_in_memory(files, tmp_path, options):
    asked = config(files, **options)
    result = crawl(asked, tmp_path / "out")
    whole = build_corpus(read_documents(asked.inputs), asked)
    for name, expected in (("train", whole.train), ("heldout", whole.heldout)):
        assert list(read_jsonl(tmp_path / f"out/{name}.jsonl")) == expected
    rows = [
        row for path in tmp_path.glob("out/jobs/*/units/*/rejected.parquet") for row in pq.read_table(path).to_pylist()
    ]
    found = {row["id"]: (row["drop_stage"], row["drop_reason"], row["copy_of"], row["text"]) for row in rows}
    assert found == {d.id: (d.drop_stage, d.drop_reason, d.meta.get("copy_of"), d.text) for d in whole.rejected}
    assert [row for row in result["funnel"] if row["stage"] != "extract"] == whole.funnel
    assert result["segments"] == whole.segments
    assert whole.segments["pieces"] > 0
    assert sum(row["bytes"] for row in whole.funnel[-1:]) == sum(d.bytes for d in (*whole.train, *whole.heldout))


def test_of_each_line_one_is_left_and_a_page_of_the_menu_alone_goes(files):
    corpus = build_corpus(read_documents((files,)), config(files))
    kept = [*corpus.train, *corpus.heldout]
    counts = Counter(line for document in kept for line in document.text.splitlines() if line)
    assert set(counts.values()) == {1}
    assert {document.text for document in kept} == {document.text.strip() for document in kept}
    before = Counter(
        line for document in pages() if document.id not in ("twin", "menu") for line in document.text.split("\n")
    )
    assert {line for line in before if line} - counts.keys() <= set(MENU)
    dropped = {document.id: document for document in corpus.rejected}
    assert {"menu"} < dropped.keys()
    if dropped["menu"].drop_stage == "repeated_segments":
        assert dropped["menu"].text == "\n".join(MENU * 5)


def test_without_it_the_documents_are_whole_again(files, tmp_path):
    crawl(config(files), tmp_path / "out")
    plain = config_of(files, heuristics=HeuristicsConfig(enabled=False))
    result = crawl(plain, tmp_path / "out")
    whole = build_corpus(read_documents(plain.inputs), plain)
    assert list(read_jsonl(tmp_path / "out/train.jsonl")) == whole.train
    assert result["segments"] == {}
    assert not (tmp_path / "out/jobs/repeated_segments").exists()
    assert sum(MENU[0] in document.text for document in whole.train) > 5


def test_lines_that_c4_leaves_out_are_not_in_the_corpus(files):
    text = "\n".join(
        [*(prose(k, 14) for k in range(9000, 9006)), "Please enable javascript to read all of this page.", "Menu"]
    )
    rules = HeuristicsConfig(families=("c4",))
    asked = config_of(files, heuristics=rules, held_out_fraction=0.0)
    (kept,) = build_corpus([Document("page", text)], asked).train
    assert kept.text == "\n".join(text.split("\n")[:6])
    as_found = replace(asked, heuristics=replace(rules, c4=C4Config(remove_lines=False)))
    assert build_corpus([Document("page", text)], as_found).train[0].text == text
    gopher = replace(asked, heuristics=HeuristicsConfig(families=("gopher",)))
    assert build_corpus([Document("page", text)], gopher).train[0].text == text


def told_by(words, capsys):
    code = main(["corpus", "dedup", *map(str, words)])
    told = capsys.readouterr()
    return code, " ".join((told.out + told.err).split())


def test_what_earlier_runs_have_seen_is_dropped(tmp_path, capsys):
    write_jsonl(tmp_path / "may.jsonl", [Document(f"may-{i}", prose(i)) for i in range(8)])
    june = [Document(f"june-{i}", prose(i)) for i in range(5, 12)]
    write_jsonl(tmp_path / "june.jsonl", [*june, Document("twin", prose(11))])
    seen = ["--steps", "seen", "--seen.items", 1000]
    first = ["--input", tmp_path / "may.jsonl", "--out", tmp_path / "a.jsonl", *seen]
    assert told_by([*first, "--seen.write", tmp_path / "may.bloom"], capsys)[0] == 0
    second = ["--input", tmp_path / "june.jsonl", "--out", tmp_path / "b.jsonl", *seen]
    for _ in range(2):  # the same command gives the same again
        files = ["--seen.read", tmp_path / "may.bloom", "--seen.write", tmp_path / "june.bloom"]
        code, told = told_by([*second, *files], capsys)
        assert code == 0
        assert "4 of 8 documents stay (4 seen before)" in told
        assert [document.id for document in read_jsonl(tmp_path / "b.jsonl")] == [f"june-{i}" for i in range(8, 12)]
    code, told = told_by([*second, "--seen.read", tmp_path / "a.jsonl"], capsys)
    assert code != 0
    assert "a.jsonl holds no Bloom filter" in told
    code, told = told_by([*second, "--seen.read", "x.bloom", "--seen.write", "x.bloom"], capsys)
    assert code != 0
    assert "Give the new filter another name" in told
    code, told = told_by(["--input", "x.jsonl", "--out", "y.jsonl", "--seen.write", "x.bloom"], capsys)
    assert code != 0
    assert "add it to --steps" in told


def test_long_repeats_are_cut_wherever_they_begin(tmp_path, capsys):
    licence = prose(1, 60)
    ends = [(f"{prose(10 + i, 30)} {'abc'[i]}", f"{'xyz'[i]} {prose(20 + i, 30)}") for i in range(3)]
    texts = [licence.join(around) for around in ends]
    write_jsonl(
        tmp_path / "in.jsonl", [*(Document(f"{i}", text) for i, text in enumerate(texts)), Document("all", licence)]
    )
    words = ["--input", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--steps", "substrings"]
    code, told = told_by(words, capsys)
    assert code == 0
    kept = list(read_jsonl(tmp_path / "out.jsonl"))
    assert {document.id: document.text for document in kept} == {
        "0": texts[0],
        "1": "".join(ends[1]),
        "2": "".join(ends[2]),
    }
    assert "1 nothing left, 2 repeated substrings" in told
