"""The verbs on corpora: one step on files, and looking at what was built."""

import json
import re
from collections import Counter

import pytest
from crawl_inputs import documents, files_of, page, prose, warc

from groundup.cli.main import main
from groundup.corpus.documents import Document, read_jsonl, write_jsonl


@pytest.fixture
def records(tmp_path):
    write_jsonl(tmp_path / "records.jsonl", documents())
    return tmp_path / "records.jsonl"


def test_dedup_keeps_one_of_each_and_writes_the_others_with_their_reason(records, tmp_path, capsys):
    out = tmp_path / "unique.jsonl"
    assert main(["corpus", "dedup", "--input", str(records), "--out", str(out)]) == 0
    kept, rejected = list(read_jsonl(out)), list(read_jsonl(tmp_path / "rejected-unique.jsonl"))
    assert len(kept) + len(rejected) == len(documents())
    reasons = {document.drop_reason for document in rejected}
    assert reasons == {"copy_url", "copy_exact", "copy_near"}
    assert {document.meta["copy_of"] for document in rejected} <= {document.id for document in documents()}
    assert f"{len(kept)} of {len(documents())} documents stay" in capsys.readouterr().out


def test_dedup_of_lines_removes_every_copy(tmp_path, capsys):
    texts = {"a": "menu\nfirst", "b": "menu\nsecond", "c": "menu"}
    write_jsonl(tmp_path / "in.jsonl", [Document(name, text) for name, text in texts.items()])
    out = tmp_path / "out.jsonl"
    words = ["--steps", "segments", "--segments.keep", "none"]
    assert main(["corpus", "dedup", "--input", str(tmp_path / "in.jsonl"), "--out", str(out), *words]) == 0
    assert [document.text for document in read_jsonl(out)] == ["first", "second"]
    assert [d.drop_reason for d in read_jsonl(tmp_path / "rejected-out.jsonl")] == ["nothing_left"]
    assert "2 repeated segments with 10 bytes" in capsys.readouterr().out


def test_decontaminate_reports_every_document_and_every_set(tmp_path, capsys):
    write_jsonl(
        tmp_path / "in.jsonl", [Document("clean", prose(1)), Document("leaked", prose(2)), Document("short", "few")]
    )
    (tmp_path / "exam.txt").write_text("Question: " + prose(2))
    (tmp_path / "other.txt").write_text(prose(3))
    exams = ["--evaluation", str(tmp_path / "exam.txt"), str(tmp_path / "other.txt")]
    out = tmp_path / "out.jsonl"
    assert main(["corpus", "decontaminate", "--input", str(tmp_path / "in.jsonl"), "--out", str(out), *exams]) == 0
    assert [document.id for document in read_jsonl(out)] == ["clean", "short"]
    entries = [json.loads(line) for line in (tmp_path / "report-out.jsonl").read_text().splitlines()]
    assert [(entry["id"], entry["fraction"]) for entry in entries] == [("clean", 0), ("leaked", 1), ("short", 0)]
    told = capsys.readouterr().out
    assert len(re.findall(r"0 of 1 items are seen in training", told)) == 2


def test_mix_weighs_sources_and_repeats_no_more_than_asked(tmp_path, capsys):
    for name, first in (("web", 0), ("books", 100)):
        write_jsonl(tmp_path / f"{name}.jsonl", [Document(f"{name}-{i}", prose(first + i, 100)) for i in range(20)])
    inputs = ["--input", str(tmp_path / "web.jsonl"), str(tmp_path / "books.jsonl")]
    size = sum(document.bytes for document in read_jsonl(tmp_path / "web.jsonl"))
    out = tmp_path / "mix.jsonl"
    words = ["--out", str(out), "--budget", str(size * 4), "--factor", "books=3", "--max-epochs", "2.5"]
    assert main(["corpus", "mix", *inputs, *words]) == 0
    taken = list(read_jsonl(out))
    books = [document for document in taken if document.id.startswith("books")]
    assert sum(document.bytes for document in books) / size == pytest.approx(2.5, abs=0.1)
    assert sum(document.bytes for document in taken) / size == pytest.approx(4, abs=0.15)
    assert len({document.id for document in taken}) == len(taken)
    assert main(["corpus", "mix", *inputs, *words, "--temperature", "2"]) != 0
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.slow
def test_a_crawl_on_the_command_line_is_inspected_and_accounted_for(tmp_path, capsys):
    folder = tmp_path / "warcs"
    folder.mkdir()
    texts = ["\n".join(prose(10 * i + k, 120) for k in range(3)) for i in range(12)]
    pages = [(f"https://example.org/{i}", page(f"Page {i}", text)) for i, text in enumerate(texts)]
    pages.append(("https://example.org/copy", pages[0][1].replace("river", "brook", 1)))
    short = "This is the page of an old house that was in our village, with a garden where they had bees and apples."
    pages.append(("https://example.org/x", f"<p>{short}</p>"))
    warc(folder / "a.warc.gz", pages)
    out = tmp_path / "out"
    families = ["--heuristics.families", "gopher"]
    assert main(["corpus", "build", "--input", str(folder), "--out", str(out), "--workers", "1", *families]) == 0
    assert main(["corpus", "inspect", str(out), "--what-if", "gopher.min_words=1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "near_duplicates/copy_near" in told
    assert "brook" in told
    assert re.search(r"13 of 14 documents pass the heuristics; 14 with", told)
    document = next(read_jsonl(out / "train.jsonl"))
    assert main(["corpus", "inspect", str(out), "--document", document.id]) == 0
    assert "HTML" in capsys.readouterr().out
    assert main(["corpus", "inspect", str(out), "--html", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert "gopher.min_words" in html
    assert "brook" in html
    assert main(["account", "corpus", str(out), "--cores", "64"]) == 0
    assert "core-hours" in capsys.readouterr().out


@pytest.mark.slow
def test_a_corpus_in_memory_is_inspected_too(tmp_path, capsys):
    files_of(tmp_path / "in", parts=1)
    out = tmp_path / "out"
    words = ["corpus", "build", "--input", str(tmp_path / "in"), "--out", str(out), "--heuristics.families", "gopher"]
    assert main(words) == 0
    assert main(["corpus", "inspect", str(out), "--samples", "2", "--reason", "exact_duplicates/copy_exact"]) == 0
    told = capsys.readouterr().out
    assert "exact_duplicates/copy_exact" in told
    assert main(["corpus", "inspect", str(out), "--what-if", "gopher.min_wordz=3"]) != 0
    assert "did you mean 'gopher.min_words'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["corpus", "inspect", "nowhere"], "holds no finished corpus"),
        (["corpus", "inspect", "x", "--reason", "short"], "STAGE/REASON"),
        (["account", "corpus"], "nothing to extrapolate"),
        (["corpus", "build", "--input", "x.warc.gz", "--out", "o", "--workers", "0"], "workers is 0"),
    ],
)
def test_faults_are_one_sentence(tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.warc.gz").write_bytes(b"x")
    assert main(words) != 0
    said = capsys.readouterr().err
    assert told in " ".join(said.split())
    assert "Traceback" not in said


def test_a_mix_towards_a_target_fills_its_budget_with_what_resembles_it(tmp_path, capsys):
    farm = [Document(f"farm-{i}", "The harvest of the village was good in that year. " * (5 + i)) for i in range(20)]
    tool = [Document(f"tool-{i}", "Run the setup script and install the package. " * (5 + i)) for i in range(20)]
    write_jsonl(tmp_path / "web.jsonl", [*farm, *tool])
    write_jsonl(tmp_path / "target.jsonl", [Document("t", "Run the setup script and install each package. " * 9)])
    out, budget = tmp_path / "mix.jsonl", 12_000
    words = ["--input", str(tmp_path / "web.jsonl"), "--target", str(tmp_path / "target.jsonl")]
    assert main(["corpus", "mix", *words, "--out", str(out), "--budget", str(budget)]) == 0
    taken = list(read_jsonl(out))
    assert sum(document.bytes for document in taken) == pytest.approx(budget, rel=0.06)
    assert sum(document.id.startswith("tool") for document in taken) > 0.9 * len(taken)


def test_a_reason_that_rejected_nothing_is_refused(tmp_path, capsys):
    write_jsonl(tmp_path / "in.jsonl", documents())
    assert main(["corpus", "build", "--input", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out")]) == 0
    assert main(["corpus", "inspect", str(tmp_path / "out"), "--reason", "language/language_dd"]) != 0
    assert "did you mean 'language/language_de'?" in " ".join(capsys.readouterr().err.split())


def test_a_mix_of_topics_weighs_them(tmp_path, capsys):
    marked = [
        Document(f"{topic}-{i}", prose(i, 60), meta={"topic": topic}) for topic in ("farm", "tool") for i in range(30)
    ]
    write_jsonl(tmp_path / "a.jsonl", marked[::2])
    write_jsonl(tmp_path / "b.jsonl", marked[1::2])
    words = ["--input", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--out", str(tmp_path / "mix.jsonl")]
    assert main(["corpus", "mix", *words, "--budget", "8000", "--by", "topic", "--factor", "farm=3"]) == 0
    sizes = Counter()
    for document in read_jsonl(tmp_path / "mix.jsonl"):
        sizes[document.meta["topic"]] += document.bytes
    assert sizes["farm"] / sizes.total() == pytest.approx(0.75, abs=0.05)
    assert main(["corpus", "mix", *words, "--budget", "8000", "--by", "subject"]) != 0
    assert "has no 'subject' in its \"meta\"" in " ".join(capsys.readouterr().err.split())
