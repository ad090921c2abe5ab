"""`groundup tokenizer convert`: a vocabulary in the form that another program reads, or from there into ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from groundup.tokenization.bpe import BytePairTokenizer


@dataclass(frozen=True)
class Args:
    """Write a tokenizer in another form with the same ids: for transformers, for tiktoken, or from those into ours.

    A form that would give other ids for some text is refused. Read are tokenizer.json files (ours and those of
    Hugging Face), vocab.json with merges.txt, and .tiktoken files.

    examples:
      groundup tokenizer convert --tokenizer runs/quickstart/tokenizer --to huggingface --out exported
      groundup tokenizer convert --tokenizer runs/quickstart/tokenizer --to tiktoken --out exported/words.tiktoken
      groundup tokenizer convert --tokenizer gpt2-files --to groundup --out runs/gpt2-tokenizer
      groundup tokenizer convert --tokenizer words.tiktoken --pattern digits --to groundup --out runs/words
    """

    tokenizer: Path
    """A tokenizer folder or file in any of the forms."""
    to: Literal["huggingface", "tiktoken", "gpt2", "groundup"]
    """huggingface: tokenizer.json. tiktoken: a rank file. gpt2: vocab.json and merges.txt. groundup: ours."""
    out: Path
    """The folder to write; for tiktoken a file NAME.tiktoken. Files of the same names are replaced."""
    pattern: str | None = None
    """The pre-token pattern of a .tiktoken file or of vocab.json with merges.txt, which do not name theirs."""


def run(args: Args) -> None:
    from groundup.core.errors import ConfigError
    from groundup.tokenization.vocabulary_files import load_vocabulary, save_vocabulary

    if args.to == "tiktoken" and args.out.suffix != ".tiktoken":
        raise ConfigError(f"--out {args.out} must end in .tiktoken; tiktoken reads one file.")
    if args.out.resolve() in (args.tokenizer.resolve(), args.tokenizer.resolve().parent):
        raise ConfigError(f"--out {args.out} is where --tokenizer is; choose another folder, so that nothing is lost.")
    tokenizer = load_vocabulary(args.tokenizer, args.pattern)
    out = save_vocabulary(tokenizer, args.to, args.out)
    if args.to == "tiktoken":
        print(f"The file holds the ranks; the rest is for whoever loads it:\n  pat_str = {tokenizer.pattern!r}")
        print(f"  special_tokens = {tokenizer.special_tokens!r}")
    print(f"{len(tokenizer.vocabulary):,} tokens: {out}; load it: {_how_to_load(tokenizer, args.to, out)}")


def _how_to_load(tokenizer: "BytePairTokenizer", form: str, out: Path) -> str:
    """The Python call, or the command, that reads what was written."""
    match form:
        case "huggingface":
            return f'transformers.AutoTokenizer.from_pretrained("{out}")'
        case "gpt2":
            return f'transformers.GPT2TokenizerFast.from_pretrained("{out}")'
        case "tiktoken":
            ranks = f'tiktoken.load.load_tiktoken_bpe("{out}")'
            special = "special_tokens" if tokenizer.special_tokens else "{}"
            return (
                f'tiktoken.Encoding("{out.stem}", pat_str=pat_str, mergeable_ranks={ranks}, special_tokens={special})'
            )
    return f'groundup tokenizer encode --tokenizer {out} --show --text "..."'
