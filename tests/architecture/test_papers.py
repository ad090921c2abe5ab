"""docs/papers.md is what scripts/list_papers.py writes today, and the script reads citations as people write them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from sources import ROOT

SCRIPT = ROOT / "scripts" / "list_papers.py"


@pytest.fixture(scope="module")
def papers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("list_papers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(papers: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code = papers.main(["--check"])
    assert code == 0, capsys.readouterr().err


def test_what_the_page_links_to_is_there(papers: ModuleType) -> None:
    page = papers.PAGE.read_text(encoding="utf-8")
    targets = [part.split(")")[0] for part in page.split("](")[1:]]
    files = [target for target in targets if not target.startswith("http")]
    assert files
    assert [target for target in files if not (papers.PAGE.parent / target).is_file()] == []


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Attention (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).", [("1706.03762", "Vaswani et al.", "eq. 1")]),
        ("as in Llama\n(Zhang & Sennrich 2019,\narXiv:1910.07467)", [("1910.07467", "Zhang & Sennrich", "")]),
        ("over the last steps (Hu et al., arXiv:2404.06395).", [("2404.06395", "Hu et al.", "")]),
        ("as in GPT-3, arXiv:2005.14165, appendix C", [("2005.14165", "", "appendix C")]),
        ('Rae et al. 2021, "On, of and Gopher", arXiv:2112.11446', [("2112.11446", "Rae et al.", "")]),
        ("(Sennrich et al., arXiv:1508.07909, as in Radford et al. 2019, sec. 2.2).",
         [("1508.07909", "Sennrich et al.", ""), ("Radford et al. 2019", "Radford et al.", "sec. 2.2")]),
        ('(Chen and Goodman 1999, "A study", section 3; Kneser & Ney 1995)',
         [("Chen and Goodman 1999", "Chen and Goodman", "section 3"), ("Kneser and Ney 1995", "Kneser & Ney", "")]),
        ("The method of Grefenstette (1995) and of Steele, Lea and Flood 2014.",
         [("Grefenstette 1995", "Grefenstette", ""),
          ("Steele, Lea and Flood 2014", "Steele, Lea and Flood", "")]),
        ("Addresses from 1795 to 2020, [1794-08-07], 1See 1974 volume, July 1969, sizes of 2048.", []),
    ],
)  # fmt: skip
def test_citations_as_written(papers: ModuleType, docstring: str, expected: list[tuple[str, str, str]]) -> None:
    assert [tuple(citation) for citation in papers.citations(docstring)] == expected


def test_wrong_citations_are_named(papers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    module = tmp_path / "models" / "layers.py"
    module.write_text('"""Shazeer 2020, arXiv:1706.03762."""\n\n\ndef gate() -> None:\n    """Noether 1918."""\n')
    monkeypatch.setattr(papers, "SOURCE", tmp_path)
    monkeypatch.setattr(papers, "KNOWN", {key: papers.KNOWN[key] for key in ("1706.03762", "Wilson 1927")})
    uses = list(papers.uses_in(module))
    assert [use.owner for use in uses] == ["", "gate"]
    author, unknown, unused = papers.faults(uses)
    assert "Shazeer" in author
    assert "Vaswani" in author
    assert "'Noether 1918'" in unknown
    assert "'Wilson 1927'" in unused


def test_every_known_work_is_listed_once_and_by_year(papers: ModuleType) -> None:
    assert len(papers.KNOWN) == len(papers.WORKS)
    years = [work.authors_year[-4:] for work in papers.WORKS]
    assert years == sorted(years)
