"""The benchmarks' harness: claims, medians, texts, processes of their own, and the slow trainer that checks ours."""

import json
import random
import statistics
import sys
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # scripts, not a package

import tokenization as benchmark  # noqa: E402
from harness import real_text  # noqa: E402
from harness.gpt2 import printable_bytes  # noqa: E402
from harness.measure import compare, run_child  # noqa: E402
from tokenization_peers.exact_trainer import exact_tokens  # noqa: E402
from tokenization_peers.vocabularies import Vocabulary, write_tokenizer_json  # noqa: E402

from groundup.tokenization.bpe_training import train_bpe  # noqa: E402
from groundup.tokenization.patterns import PATTERNS  # noqa: E402

KEYS = ["claim", "peer", "ours", "theirs", "unit", "ratio", "target", "runs", "versions"]
WORKER = "tokenization_peers.worker"
PROSE = (
    "It's 1999, the 12th of May;\nhe'd said: \"don't\".\n\n\n  The sun rose. Привет, мир!\nAnd so on\tand on.\r\n" * 3
)


def test_a_claim_is_one_line_of_json_with_medians_and_their_ratio() -> None:
    claim = compare(
        "encode", "them", [100.0, 900.0, 300.0], [10.0, 20.0, 100.0], "MB/s", target=15, versions={"them": "1"}
    )
    line = claim.json()
    assert "\n" not in line
    value = json.loads(line)
    assert list(value) == KEYS
    assert (value["ours"], value["theirs"], value["ratio"], value["runs"]) == (300.0, 20.0, 15.0, 3)
    assert claim.met is True


def test_where_less_is_better_the_ratio_turns_around() -> None:
    claim = compare("train", "them", [2.0], [3.0], "s", lower_is_better=True, target=2.0)
    assert (claim.ratio, claim.met) == (1.5, False)
    assert compare("train", "them", [2.0], [3.0], "s").met is None


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=9), st.lists(st.floats(0.1, 1e6), min_size=1, max_size=9))
def test_ours_against_theirs_is_the_inverse_of_theirs_against_ours(ours: list[float], theirs: list[float]) -> None:
    there, back = compare("a", "b", ours, theirs, "s"), compare("a", "b", theirs, ours, "s")
    assert there.ratio * back.ratio == pytest.approx(1)
    assert there.ours == statistics.median(ours)


@given(st.text(alphabet="aB1'.,!/ \n\r\t\u00e9\u4e2d\u00a0", max_size=60), st.integers(0, 8))
def test_pieces_have_the_pre_tokens_of_the_whole(text: str, least: int) -> None:
    cuts = [text[start:end] for start, end in real_text.pieces(text, least)]
    assert "".join(cuts) == text
    for pattern in map(regex.compile, PATTERNS.values()):
        assert [token for cut in cuts for token in pattern.findall(cut)] == pattern.findall(text)


def test_pieces_do_cut() -> None:
    assert len(list(real_text.pieces(PROSE, 10))) > 3


def test_tags_and_menus_leave_only_text() -> None:
    page = "<head><title>t</title></head><nav>menu</nav><p>one &amp; <b>two</b></p><script>x<y</script><p>three</p>"
    assert real_text.strip_tags(page) == "one & two\n\nthree"


def test_a_page_that_is_not_translated_is_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>Not yet translated</p>")
    assert real_text.read_document(page, real_text.RUSSIAN) == b""
    assert real_text.read_document(page, real_text.PROSE) == b"Not yet translated\n"


def test_the_same_packages_give_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [tmp_path / f"{number}.txt" for number in range(40)]
    for number, page in enumerate(pages):
        page.write_text(f"Page {number} of the manual.\n" * 50)
    listed = [(real_text.PROSE, page.name, page) for page in pages]
    texts = []
    for order in (listed, listed[::-1]):
        monkeypatch.setattr(real_text, "candidates", lambda _folders, order=order: order)
        text = real_text.Text(*(tmp_path / name for name in ("whole", "russian", "chinese")), {})
        facts = real_text.write_texts(text, 1, {})
        texts.append((text.whole.read_bytes(), facts))
    assert texts[0] == texts[1]
    assert facts["documents"] == 40
    assert facts["bytes"] == sum(page.stat().st_size for page in pages)


def test_the_slow_trainer_and_ours_learn_the_same_tokens(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    words = [*PROSE.split(" "), "aaaa", "aaaaa", "banana", "ananas"]
    text.write_bytes(" ".join(random.Random(0).choices(words, k=4_000)).encode())
    ours = train_bpe([text.read_bytes().decode()], 320, pattern="gpt2")
    assert ours.vocab_size == 320
    assert exact_tokens(text, 320) == [ours.vocabulary[token] for token in range(ours.vocab_size)]


def test_a_tokenizer_json_gives_the_ids_of_its_rank_file(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    ours = train_bpe([PROSE], 330, pattern="gpt2")
    ranks = {token: rank for rank, token in ours.vocabulary.items()}
    chosen = Vocabulary("test", tmp_path / "test.tiktoken", tmp_path / "test.json")
    chosen.ranks.write_text("".join(f"{_base64(token)} {rank}\n" for token, rank in ranks.items()))
    write_tokenizer_json(chosen)
    theirs = Tokenizer.from_file(str(chosen.json))
    assert theirs.encode(PROSE).ids == ours.encode(PROSE)


def _base64(token: bytes) -> str:
    import base64

    return base64.b64encode(token).decode()


def test_printable_letters_are_256_different_ones_without_spaces() -> None:
    letters = printable_bytes()
    assert len(set(letters.values())) == len(letters) == 256
    assert all(letter.isprintable() and not letter.isspace() for letter in letters.values())


def test_a_job_answers_from_a_process_of_its_own(tmp_path: Path) -> None:
    text, tokens = tmp_path / "text.txt", tmp_path / "tokens"
    text.write_text("low lower lowest " * 20)
    job = {"do": "exact", "text": str(text), "vocab_size": 260, "tokens": str(tokens)}
    assert run_child(WORKER, job) == {"tokens": 260}
    assert len(benchmark.read_tokens(tokens)) == 260
    absent = run_child(WORKER, {**job, "text": str(tmp_path / "absent")})
    assert "FileNotFoundError" in absent["missing"]


def test_a_wrong_answer_of_ours_voids_the_claim_and_one_of_a_peer_is_noted(tmp_path: Path) -> None:
    text = real_text.Text(tmp_path, tmp_path, tmp_path, {})
    session = benchmark.Session(text, runs=1, passes=1, vocab_size=300)
    right, wrong = {"digest": "a", "warm": 2.0}, {"digest": "b", "warm": 9.0}
    assert session.usable("encode", benchmark.OURS, [right, wrong], "a") == []
    assert "encode" in session.void[0]
    assert session.usable("encode", "gigatoken", [wrong], "a") == [wrong]
    assert session.usable("encode", "tiktoken", [{"missing": "no module"}], "a") == []
    assert [note.split(":")[0] for note in session.notes] == ["encode, gigatoken", "encode, tiktoken"]
    session.add("encode", "gigatoken", [], [9.0], "MB/s")
    assert session.claims == []


def test_of_a_library_its_fastest_call_counts() -> None:
    results = {
        "them slow": [{"warm": 1.0}, {"warm": 2.0}],
        "them fast": [{"warm": 5.0}, {"warm": 4.0}],
        "we x": [{"warm": 9.0}],
    }
    assert benchmark.fastest(results, "them", "warm") == [5.0, 4.0]
    assert benchmark.fastest(results, "nobody", "warm") == []
