"""The command line: finds the verb, parses its options with tyro, and turns a user's fault into one sentence.

Each verb is a module with a dataclass `Args` (its docstring is the help) and `run(args)`. Only the chosen verb's module
is imported, and its `Args` never imports torch, so help is instant.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from groundup.core.errors import GroundupError

VERBS = {
    "quickstart": "the whole story on real text: corpus to report, in about ten minutes",
    "corpus build": "raw documents to a clean, deduplicated, split corpus",
    "tokenizer train": "learn a byte-pair vocabulary",
    "tokenizer encode": "text to token ids",
    "tokenizer decode": "token ids to text",
    "pretrain": "train a decoder on a corpus",
    "evaluate": "bits per byte against xz and Kneser-Ney, samples, tasks",
    "sft": "fine-tune on verifiable instructions",
    "grpo": "reinforcement learning against the verifiers",
    "generate": "continue a prompt",
    "chat": "talk to a model in the terminal",
    "serve": "OpenAI-compatible API and chat page",
    "runs": "list runs, or show one",
}
EXIT_FAULT, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] == "--version":
        from groundup import __version__

        print(f"groundup {__version__}")
        return 0
    verb, rest = _split_verb(words)
    if verb is None:
        return EXIT_USAGE if rest else 0
    return _run(verb, rest)


def _run(verb: str, words: Sequence[str]) -> int:
    import tyro

    from groundup.core.logging import console, log_to_console

    module = importlib.import_module(f"groundup.cli.{verb.replace(' ', '_')}")
    log_to_console()
    try:
        args = tyro.cli(
            module.Args, prog=f"groundup {verb}", args=list(words), config=(tyro.conf.CascadeSubcommandArgs,)
        )
        module.run(args)
    except GroundupError as error:
        console.print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        return EXIT_FAULT
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        console.print("stopped; run the same command again to continue where it was.", highlight=False)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        reason = (error.strerror or str(error)).lower()
        console.print(f"[bold red]error:[/] {_escape(place + reason)}.", highlight=False, soft_wrap=True)
        return EXIT_FAULT
    return 0


def _split_verb(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The longest known verb at the front and what follows; a message on stderr where there is none."""
    for length in (2, 1):
        verb = " ".join(words[:length])
        if verb in VERBS:
            return verb, list(words[length:])
    group = [verb for verb in VERBS if verb.split()[0] == words[0]]
    if group and (len(words) == 1 or words[1] in ("-h", "--help")):
        print("\n".join(f"groundup {verb:<18} {VERBS[verb]}" for verb in group))
        return None, []
    from groundup.core.config import nearest

    wanted = " ".join(words[:2]) if group else words[0]
    print(f"error: there is no verb {wanted!r}; {nearest(wanted, group or VERBS)}", file=sys.stderr)
    return None, list(words)


def _help() -> str:
    verbs = "\n".join(f"  {verb:<18} {text}" for verb, text in VERBS.items())
    return f"""groundup: a language model from the ground up

usage: groundup VERB [options]      groundup VERB --help for its options and examples

{verbs}

examples:
  groundup quickstart
  groundup corpus build --input notes/ --out corpora/notes
  groundup serve runs/quickstart"""


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
