"""`groundup serve`: the OpenAI-compatible API and the chat page for runs or checkpoints."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from groundup.serving import KEY_VARIABLE

if TYPE_CHECKING:
    from groundup.stages.serve import ServeConfig


@dataclass(frozen=True)
class Args:
    """Serve models: an OpenAI-compatible API, metrics, and a chat page in the browser.

    On Ctrl+C running answers may finish for some seconds; a second Ctrl+C cuts them.

    examples:
      groundup serve runs/quickstart
      groundup serve runs/quickstart --port 8080 --compile
      groundup serve runs/quickstart/pretrain runs/quickstart --name base tuned
      GROUNDUP_API_KEY=secret groundup serve runs/quickstart --host 0.0.0.0
    """

    paths: Annotated[tuple[Path, ...], Positional]
    """Run folders (the newest, most aligned checkpoint of each is served) or checkpoint folders."""
    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 every network interface."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""
    name: tuple[str, ...] = ()
    """The models' names for clients, one for each; the folders' names if left out."""
    compile: bool = False
    """Decode by compiled functions: some seconds to a minute when a batch size first comes, then faster."""
    threads: int = 0
    """Cores that compute, 0 for all. One less leaves a core to the network: a small model answers faster so."""
    api_key: tuple[str, ...] = ()
    """Keys that clients must send; other users of this machine can read them here, so better by the two below."""
    api_key_file: Path | None = None
    """A file with a key on each line. The environment variable GROUNDUP_API_KEY may have one too."""
    cors_origin: tuple[str, ...] = ()
    """Origins whose web pages may ask, such as https://example.org; * for all."""
    max_running: int = 128
    """The most answers that are computed side by side."""
    max_waiting: int = 32
    """The most requests that wait behind those; the next one gets status 429."""
    tokens_per_step: int = 256
    """The most tokens of prompts and answers in one step: smaller for shorter pauses in what others read."""
    cache_megabytes: int = 512
    """Memory for keys and values."""
    max_body_bytes: int = 1_000_000
    """The largest request."""
    finish_seconds: float = 5.0
    """How long running answers may finish after Ctrl+C."""


def run(args: Args) -> None:
    """Serve until Ctrl+C."""
    from groundup.core.logging import console
    from groundup.stages.serve import run_server

    config = config_of(args)
    console.print(f"loading {' '.join(map(str, args.paths))}", highlight=False, markup=False)
    run_server(config, args.paths, announce, args.name)
    console.print("stopped.", highlight=False)


def config_of(args: Args) -> "ServeConfig":
    """The options as the stage takes them."""
    from groundup.inference.scheduler import Limits
    from groundup.serving.app import AppOptions
    from groundup.stages.serve import ServeConfig

    limits = Limits(args.max_running, args.tokens_per_step, cache_bytes=args.cache_megabytes * 2**20)
    app = AppOptions(args.max_waiting, args.max_body_bytes, api_keys(args), args.cors_origin)
    return ServeConfig(args.host, args.port, args.finish_seconds, args.compile, limits, app, args.threads)


def api_keys(args: Args) -> tuple[str, ...]:
    """Those of the options, of the file and of the environment."""
    from groundup.core.errors import ConfigError
    from groundup.core.files import require_file

    keys = list(args.api_key)
    if args.api_key_file is not None:
        require_file(args.api_key_file)
        lines = args.api_key_file.read_text(encoding="utf-8").splitlines()
        found = [line.strip() for line in lines if line.strip()]
        if not found:  # rather than to serve everybody
            raise ConfigError(f"{args.api_key_file} holds no API key; write one on each line.")
        keys += found
    if KEY_VARIABLE in os.environ:
        keys.append(os.environ[KEY_VARIABLE])
    return tuple(keys)


def announce(url: str, page: str, names: Sequence[str]) -> None:
    """Say where the server is and how to ask it."""
    body = json.dumps({"model": names[0], "messages": [{"role": "user", "content": "Hello"}]})
    shown = f"{url}{page}" if page else "none, as it would ask for no API key"
    print(
        f"""serving {", ".join(names)}

  chat page   {shown}
  API         {url}/v1

  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{body}'

Press Ctrl+C to stop.""",
        flush=True,
    )
