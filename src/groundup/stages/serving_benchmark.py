"""How fast a server answers: latencies and throughput at several concurrencies, as a table, JSON and a page.

Any OpenAI-compatible server is measured by its URL; of a run a server is started in a process of its own, so that
clients and server share no interpreter. For a run the roofline is drawn too: a decoding step of B sequences reads the
weights once and each sequence's keys and values (`accounting/costs.py`), so tokens a second are at most

    B / max(bytes(B) / bandwidth, flops(B) / peak)

which at first grows with B, as the weights are read for all, and then no more. The roofs are measured on this machine.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import require_file, write_json, write_text
from groundup.core.progress import progress
from groundup.serving import KEY_VARIABLE
from groundup.serving.load import Arrival, api_url, find_model, measure, summary
from groundup.stages.config import ServingBenchmarkConfig
from groundup.stages.serve import model_name
from groundup.web.serving_page import render

TEXT = "the of and to in a our we that be is it for have this with which by as not on are all from"
START_SECONDS = 300
DTYPES = {"torch.bfloat16": "bfloat16", "torch.float32": "float32"}


def run_serving_benchmark(
    config: ServingBenchmarkConfig,
    target: str,
    out: Path,
    *,
    model: str = "",
    api_key: str = "",
    options: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure a URL, or a server of a run, with options of `groundup serve`, that lives as long as this; writes
    `result.json` and `serving.html`."""
    if target.startswith(("http://", "https://")):
        result = measured(config, api_url(target), model, api_key)
    elif not Path(target).exists():
        raise MissingError(f"{target} is neither a URL nor a run; write http://... or a folder's path.")
    else:
        with started(Path(target), options, max(config.concurrency)) as url:
            result = measured(config, url, model, api_key)
        result["roofline"] = roofline(Path(target), result["levels"])
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "result.json", result)
    write_text(out / "serving.html", render(result))
    return result


def measured(config: ServingBenchmarkConfig, url: str, model: str, api_key: str) -> dict[str, Any]:
    """Each level in turn, after a warm-up that does not count."""
    name, context = find_model(url, model, api_key)
    texts = prompts(config, context)
    levels = []
    with progress("load", total=len(config.concurrency)) as advance:
        for concurrency in config.concurrency:
            count = config.requests or 8 * concurrency
            for clients in warm_up(concurrency):
                warm = [_body(config, name, texts, -1 - place) for place in range(clients)]
                asyncio.run(measure(url, warm, Arrival(clients), config.seed, api_key))
            bodies = [_body(config, name, texts, place) for place in range(count)]
            samples = asyncio.run(measure(url, bodies, Arrival(concurrency, config.rate), config.seed, api_key))
            levels.append(summary(samples, concurrency))
            advance()
    arrival = "closed loop" if config.rate is None else f"Poisson, {config.rate:g} a second"
    return {"url": url, "model": name, "arrival": arrival, "output_tokens": config.output_tokens, "levels": levels}


def warm_up(concurrency: int) -> list[int]:
    """Numbers of clients before a level: each power of two below it, as a server may compile each batch size when it
    first comes, and the level's own."""
    return [*(2**power for power in range((concurrency - 1).bit_length())), concurrency]


def prompts(config: ServingBenchmarkConfig, context: int | None) -> list[str]:
    """The texts to send: those of the file, or random words, about one token each."""
    if config.prompts is not None:
        require_file(config.prompts)
        texts = [line for line in config.prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not texts:
            raise InputError(f"{config.prompts} has no prompt; write one on each line.")
        return texts
    if context is not None and config.prompt_tokens + config.output_tokens > context:
        raise ConfigError(
            f"{config.prompt_tokens} tokens of a prompt and {config.output_tokens} of an answer do not fit into the "
            f"model's context of {context}; lower --prompt-tokens or --output-tokens."
        )
    draw = random.Random(config.seed)
    words = TEXT.split()
    return [" ".join(draw.choices(words, k=max(1, config.prompt_tokens * 3 // 4))) for _ in range(256)]


def _body(config: ServingBenchmarkConfig, model: str, texts: Sequence[str], place: int) -> dict[str, Any]:
    body = {"model": model, "prompt": texts[place % len(texts)], "max_tokens": config.output_tokens}
    return body | {
        "temperature": 1.0,
        "seed": config.seed + abs(place),
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@contextlib.contextmanager
def started(run: Path, options: Sequence[str], most: int) -> Iterator[str]:
    """A server of a run in a process of its own, with options of `groundup serve`; the URL of its API."""
    command = [sys.executable, "-m", "groundup.cli.main", "serve", str(run), "--port", "0", "--name", model_name(run)]
    command += ["--max-waiting", str(max(32, most)), *options]
    environment = {key: value for key, value in os.environ.items() if key != KEY_VARIABLE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            url = next((line.split()[-1] for line in server.stdout if line.strip().startswith("API")), None)
            if url is None:
                raise InputError(f"The server of {run} did not start; what it said stands above.")
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=20)
            server.kill()


def roofline(run: Path, levels: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """What memory and arithmetic allow at each batch, and what was measured; None for models that are no decoders."""
    from groundup.accounting.costs import decode
    from groundup.inference.engine import find_checkpoint
    from groundup.kernels.peak import fastest_dtype
    from groundup.models.config import DecoderConfig
    from groundup.training.roofline import measured_roofs

    model = find_checkpoint(run).config
    if not isinstance(model, DecoderConfig):
        return None
    dtype = fastest_dtype()
    roofs, name = measured_roofs(dtype), DTYPES[str(dtype)]
    length = int(max(level["mean_prompt_tokens"] + level["mean_output_tokens"] / 2 for level in levels))
    batches = [2**power for power in range(max(level["concurrency"] for level in levels).bit_length() + 2)]
    works = [decode(model, batch, length, name) for batch in batches]
    return {
        "dtype": name,
        "peak_flops": roofs.peak_flops,
        "bandwidth": roofs.bandwidth,
        "context": length,
        "bytes_per_token": works[0].bytes,
        "batches": batches,
        "memory": [b * roofs.bandwidth / work.bytes for b, work in zip(batches, works, strict=True)],
        "compute": [b * roofs.peak_flops / work.flops for b, work in zip(batches, works, strict=True)],
        "measured": [[level["concurrency"], level["concurrency"] / level["itl"]["p50"]] for level in levels],
    }
