"""`groundup serve`: the OpenAI-compatible API and the chat page for a run or a checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional


@dataclass(frozen=True)
class Args:
    """Serve a model: an OpenAI-compatible API and a chat page in the browser.

    examples:
      groundup serve runs/quickstart
      groundup serve runs/quickstart --port 8080
      groundup serve runs/quickstart/pretrain/checkpoints/step_00001000 --name base
    """

    path: Annotated[Path, Positional]
    """A run folder (its newest, most aligned checkpoint is served) or a checkpoint folder."""
    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is this machine only, 0.0.0.0 every network interface."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""
    name: str = ""
    """The model's name for clients; the folder's name if left out."""


def run(args: Args) -> None:
    """Serve until Ctrl+C."""
    from groundup.core.logging import console
    from groundup.stages.serve import ServeConfig, run_server

    config = ServeConfig(host=args.host, port=args.port)
    console.print(f"loading {args.path}", highlight=False, markup=False)
    run_server(config, args.path, _announce, args.name)
    console.print("stopped.", highlight=False)


def _announce(url: str, page: str, name: str) -> None:
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}]})
    print(
        f"""serving {name}

  chat page   {url}{page}
  API         {url}/v1

  curl {url}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{body}'

Press Ctrl+C to stop.""",
        flush=True,
    )
