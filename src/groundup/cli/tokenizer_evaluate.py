"""`groundup tokenizer evaluate`: vocabularies side by side on the same texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Cell = Callable[[dict[str, Any]], str]  # a tokenizer's row of the result, as the text of one column

MOST_GROUPS = 6  # columns that fit into a terminal of 100 columns
NAME_WIDTH = 26
LONGEST_TOKEN = 24  # characters shown


@dataclass(frozen=True)
class Args:
    """Compare tokenizers on texts: bytes per token by domain and language, words cut, tokens unused, speed.

    A tokenizer is a vocabulary (a folder with tokenizer.json, or with vocab.json and merges.txt, or a .tiktoken file)
    or a baseline: byte, character or word; the last two learn from a corpus's train split, else from the texts
    themselves. A text is a file, a folder of them, or a corpus folder, of which the held-out split is used.

    examples:
      groundup tokenizer evaluate --tokenizer runs/quickstart/tokenizer byte --input runs/quickstart/corpus
      groundup tokenizer evaluate --tokenizer runs/words gpt2/ cl100k_base.tiktoken --input texts/ --out runs/compared
      groundup tokenizer evaluate --tokenizer gpt2/ word --domain prose=book.txt code=src.jsonl news=news/
    """

    tokenizer: tuple[str, ...]
    """Vocabularies, or byte, character, word."""
    input: tuple[Path, ...] = ()
    """Files, folders and corpus folders; each file, folder in a folder, and source of records is a domain."""
    domain: tuple[str, ...] = ()
    """More texts as NAME=PATH, all of a path in the domain of that name."""
    out: Path | None = None
    """The folder for result.json and a chart; without it the tables are all there is."""
    word_vocab_size: int = 50_000
    """Vocabulary of the baseline word."""
    speed_rounds: int = 5
    """Speed is the median of so many rounds; 0 does not measure it."""


def run(args: Args) -> None:
    from rich.console import Console

    from groundup.stages.tokenizer_evaluation import (
        TokenizerEvaluationConfig,
        evaluate_tokenizers,
        run_tokenizer_evaluation,
    )

    config = TokenizerEvaluationConfig(args.tokenizer, args.input, args.domain, args.word_vocab_size, args.speed_rounds)
    result = run_tokenizer_evaluation(config, args.out) if args.out else evaluate_tokenizers(config)
    console = Console()
    for table in tables(result):
        console.print(table)
    _print_notes(result)
    size = f"{len(result['tokenizers'])} tokenizers on {result['bytes']:,} bytes in {result['documents']:,} documents"
    where = f"{args.out / 'result.json'}" if args.out else "nothing was written, keep the numbers with --out FOLDER"
    example = next((row["path"] for row in result["tokenizers"] if Path(row["path"]).exists()), "...")
    print(f'{size}: {where}; next: groundup tokenizer encode --tokenizer {example} --show --text "..."')


def tables(result: dict[str, Any]) -> list["Table"]:
    """What is shown: bytes per token and fertility by group, then what concerns a tokenizer as a whole."""
    rows = result["tokenizers"]
    shown = [_group_table(result, "domains", "bytes_per_token", "bytes per token by domain: more is better")]
    if len(result["languages"]) > 1:
        shown.append(_group_table(result, "languages", "bytes_per_token", "bytes per token by language"))
        shown.append(_group_table(result, "languages", "fertility", "tokens per word by language: fewer is better"))
    quality: dict[str, Cell] = {
        "vocabulary": lambda row: f"{row['vocab_size']:,}",
        "chars/\ntoken": lambda row: _decimal(row["characters_per_token"]),
        "tokens/\nword": lambda row: _decimal(row["fertility"]),
        "words\ncut": lambda row: _percent(row["continued_word_share"]),
        "unknown": lambda row: _percent(row["unknown_share"]),
        "not\nback": lambda row: f"{row['round_trip']['failures']:,}",
    }
    shown.append(_table("text: words and losses", rows, quality))
    use: dict[str, Cell] = {
        "Rényi": lambda row: _decimal(row["vocabulary"]["renyi_efficiency"]),
        "unused": lambda row: _percent(row["vocabulary"]["unused_share"]),
        "unreach-\nable": lambda row: f"{row['vocabulary']['unreachable']:,}",
        "median": lambda row: f"{row['tokens_per_document']['p50']:,}",
        "95th\npercentile": lambda row: f"{row['tokens_per_document']['p95']:,}",
    }
    if rows[0]["speed"]:
        use["encode\nMB/s"] = lambda row: f"{row['speed']['encode_megabytes_per_second']:.1f}"
        use["decode\nMB/s"] = lambda row: f"{row['speed']['decode_megabytes_per_second']:.1f}"
    shown.append(_table("vocabulary; tokens per document (median, 95th percentile); speed", rows, use))
    return shown


def _group_table(result: dict[str, Any], kind: str, measure: str, title: str) -> "Table":
    names = list(result[kind])
    columns: dict[str, Cell] = {"all": lambda row: _decimal(row[measure])}
    for name in names[:MOST_GROUPS] if len(names) > 1 else ():
        columns[name] = lambda row, name=name: _decimal(row[kind][name][measure])
    table = _table(title, result["tokenizers"], columns)
    if len(names) > MOST_GROUPS:
        table.caption = f"the {MOST_GROUPS} with the most text of {len(names)}; all with --out, in result.json"
    return table


def _table(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, Cell]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    table.add_column("tokenizer", max_width=NAME_WIDTH, overflow="fold")
    for name in columns:
        table.add_column(Text(name), justify="right", overflow="fold")
    for row in rows:
        table.add_row(Text(row["name"]), *(cell(row) for cell in columns.values()))
    return table


def _print_notes(result: dict[str, Any]) -> None:
    """What the tables cannot say: the first text that was lost, the longest tokens, where baselines learnt."""
    for row in result["tokenizers"]:
        if first := row["round_trip"]["first"]:
            lost = f"{row['round_trip']['failures']:,} of {result['documents']:,} documents"
            place = f"{first['document']} at byte {first['at_byte']:,}"
            change = f"{first['text']!r} became {first['decoded']!r}"
            print(f"{row['name']} does not give back {lost}; the first is {place}, where {change}")
    for row in result["tokenizers"]:
        if row["path"] not in ("byte", "character"):
            longest = row["vocabulary"]["longest"][:3]
            shown = ", ".join(
                f"{_short(token['text'])} ({token['bytes']} bytes, {token['count']:,}×)" for token in longest
            )
            print(f"longest tokens of {row['name']}: {shown}")
    if learnt_from := result["baselines_learnt_from"]:
        learners = [row["name"] for row in result["tokenizers"] if row["path"] in ("character", "word")]
        print(f"{' and '.join(learners)} learnt from {learnt_from}")
    if result["tokenizers"][0]["speed"]:
        megabytes = result["speed_text_bytes"] / 1e6
        print(f"speed is this machine's, with warm caches, on {megabytes:.1f} MB of these texts")


def _short(text: str) -> str:
    return repr(text) if len(text) <= LONGEST_TOKEN else f"{text[:LONGEST_TOKEN]!r}…"


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
