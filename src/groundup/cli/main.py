"""The command line: finds the verb, parses its options with tyro, and turns a user's fault into one sentence.

Each verb is a module with a dataclass `Args` (its docstring is the help) and `run(args)`. Only the chosen verb's module
is imported, and its `Args` never imports torch, so help is instant.

Exit codes: 0 done; 1 a fault that the user can mend, told in one sentence; 2 wrong usage; 130 interrupted. Any other
fault is ours and keeps its traceback.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence

from groundup.core.errors import ConfigError, GroundupError

VERBS = {
    "quickstart": "the whole story on real text: corpus to report, in about ten minutes",
    "corpus fetch": "shards of Common Crawl, named corpora: resumed and verified",
    "corpus build": "raw documents to a clean, deduplicated, split corpus",
    "corpus inspect": "what a corpus kept and dropped, and why; samples, what if, a page",
    "corpus dedup": "copies out of files of documents",
    "corpus mix": "how much of each source goes into training, and which documents",
    "corpus train-classifier": "a quality, toxicity or subject classifier, measured, with a card",
    "corpus classify": "a classifier's score of each document, and a rule that keeps by it",
    "corpus decontaminate": "what stands in evaluation texts out of files of documents",
    "corpus work-unit": "one task of a Slurm array (for corpus build)",
    "tokenizer train": "learn a byte-pair vocabulary",
    "tokenizer encode": "text to token ids",
    "tokenizer encode-files": "files of any size to shards of token ids",
    "tokenizer decode": "token ids to text",
    "tokenizer evaluate": "vocabularies side by side on the same texts",
    "tokenizer convert": "a vocabulary for other programs, and back",
    "pretrain": "train a decoder on a corpus",
    "profile": "where the time and memory of a training step go",
    "ablate": "variants of a model at equal compute, with intervals",
    "evaluate": "bits per byte against xz and Kneser-Ney, samples, tasks",
    "sft": "fine-tune on verifiable instructions",
    "grpo": "reinforcement learning against the verifiers",
    "generate": "continue a prompt",
    "chat": "talk to a model in the terminal",
    "serve": "OpenAI-compatible API and chat page",
    "bench-serve": "latency and throughput of a server against its clients",
    "account": "parameters, FLOPs, memory, time and money of a decoder",
    "account corpus": "time, money and storage of a corpus from a whole crawl",
    "import": "a model of another program as a checkpoint",
    "export": "a checkpoint for transformers or llama.cpp",
    "quantize": "a model's weights in 8 or 4 bits, and what that costs",
    "report": "the page of a run: curves, samples, numbers",
    "runs": "list runs, or show one",
}
EXIT_FAULT, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _answer(words)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue where it was.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except GroundupError as error:
        return _fault(str(error))
    except OSError as error:
        if error.strerror is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        return _fault(f"{place}{error.strerror.lower()}.")
    return code


def _answer(words: Sequence[str]) -> int:
    """Help, the version, or a verb's work; returns the exit code."""
    if words and words[0] == "help":
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from groundup import __version__

        print(f"groundup {__version__}")
        return 0
    verb, rest = split_verb(words)
    if verb is not None:
        return _run(verb, rest)
    group = verbs_of(words[0])
    if group and (len(words) == 1 or words[1] in ("-h", "--help")):
        print(_table(group, "groundup "))
        return 0
    from groundup.core.config import nearest

    wanted = " ".join(words[:2]) if group else words[0]
    print(f"error: there is no verb {wanted!r}; {nearest(wanted, group or VERBS)}", file=sys.stderr)
    return EXIT_USAGE


def module_name(verb: str) -> str:
    """The module of a verb: `groundup.cli.tokenizer_encode_files` for "tokenizer encode-files"."""
    return "groundup.cli." + verb.replace(" ", "_").replace("-", "_")


def _run(verb: str, words: Sequence[str]) -> int:
    import tyro

    from groundup.core.logging import log_to_console

    module = importlib.import_module(module_name(verb))
    log_to_console()
    if {"-h", "--help"} & set(words):
        print(f"{describe(module.Args)}\n")  # here, because tyro would join the lines of a paragraph into one
    flags = (tyro.conf.CascadeSubcommandArgs, tyro.conf.AvoidSubcommands)  # `settings.with_kinds` chooses kinds
    options = {"prog": f"groundup {verb}", "description": "", "config": flags}
    if hasattr(module, "defaults"):  # a verb with recipes: its options start from the chosen one
        options["default"] = module.defaults(words)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            args = tyro.cli(module.Args, args=list(words), **options)
    except (SystemExit, ConfigError) as leave:  # SystemExit: 0 after --help, 2 after a message about the options
        if (refusal := _refusal(leave)) is not None:
            _fault(refusal)  # a config that refused a value says it in its own sentence, not in tyro's box
            return EXIT_USAGE
        sys.stderr.write(told.getvalue())
        code = getattr(leave, "code", None)
        return code if isinstance(code, int) else EXIT_USAGE
    module.run(args)
    return 0


def _refusal(leave: BaseException | None) -> str | None:
    """The sentence of the config that did not accept an option's value, where that is why tyro gave up."""
    while leave is not None:
        if isinstance(leave, ConfigError):
            return str(leave)
        leave = leave.__context__
    return None


def split_verb(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The longest known verb at the front, or None, and the words behind it."""
    for length in (2, 1):
        verb = " ".join(words[:length])
        if verb in VERBS:
            return verb, list(words[length:])
    return None, list(words)


def verbs_of(group: str) -> list[str]:
    """The verbs that begin with a word: `corpus build` for `corpus`."""
    return [verb for verb in VERBS if verb.split()[0] == group]


def describe(args_class: type) -> str:
    """A docstring as help: paragraphs are wrapped to the terminal, blocks with indented lines (examples) kept."""
    import inspect
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, 100)
    blocks = inspect.cleandoc(args_class.__doc__ or "").split("\n\n")
    return "\n\n".join(block if "\n " in block else textwrap.fill(block, width) for block in blocks)


def _table(verbs: Iterable[str], before: str) -> str:
    return "\n".join(f"{before}{verb:<18} {VERBS[verb]}" for verb in verbs)


def _help() -> str:
    return f"""groundup: a language model from the ground up

usage: groundup VERB [options]      groundup VERB --help for its options and examples

{_table(VERBS, "  ")}

examples:
  groundup quickstart
  groundup corpus build --input notes/ --out corpora/notes
  groundup serve runs/quickstart"""


def _fault(sentence: str) -> int:
    from rich.text import Text

    from groundup.core.logging import console

    console.print(Text.assemble(("error: ", "bold red"), sentence), highlight=False, soft_wrap=True)
    return EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
