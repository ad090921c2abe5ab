"""Load for a server with OpenAI's completions endpoint, and what its clients see.

    time to first token (TTFT)        from sending a request to the first piece of its answer
    inter-token latency (ITL)         between two pieces; a mean per request is TPOT, time per output token
    end-to-end                        from sending a request to its last piece

Two kinds of arrival. Closed loop: so many clients, each of which asks again as soon as it has its answer; that finds
the throughput at a concurrency. Poisson: requests come at random, so many a second whether or not the server keeps up,
as users do; that finds the latency under a load.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from groundup.core.errors import InputError, MissingError

PERCENTILES = (50, 90, 99)
TIMEOUT_SECONDS = 600


@dataclass
class Sample:
    """One request: when it was sent, when its pieces came, and its token counts; `error` where it failed."""

    sent: float
    pieces: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str = ""


@dataclass(frozen=True)
class Arrival:
    """`rate` requests a second at random, never more than `concurrency` at once; or without a rate a closed loop."""

    concurrency: int
    rate: float | None = None


async def measure(
    url: str, bodies: Sequence[Mapping[str, Any]], arrival: Arrival, seed: int, api_key: str = ""
) -> list[Sample]:
    """Send every body once; a sample for each."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=url, headers=authorization(api_key), timeout=TIMEOUT_SECONDS, limits=limits
    ) as client:
        if arrival.rate is None:
            return await _closed_loop(client, bodies, arrival.concurrency)
        return await _poisson(client, bodies, arrival, arrival.rate, random.Random(seed))


async def _closed_loop(client: httpx.AsyncClient, bodies: Sequence[Mapping[str, Any]], clients: int) -> list[Sample]:
    following = iter(bodies)
    samples: list[Sample] = []

    async def ask() -> None:
        for body in following:
            samples.append(await _sample(client, body))

    await asyncio.gather(*(ask() for _ in range(clients)))
    return samples


async def _poisson(
    client: httpx.AsyncClient, bodies: Sequence[Mapping[str, Any]], arrival: Arrival, rate: float, draw: random.Random
) -> list[Sample]:
    room = asyncio.Semaphore(arrival.concurrency)

    async def ask(body: Mapping[str, Any]) -> Sample:
        async with room:
            return await _sample(client, body)

    asked = []
    for body in bodies:
        asked.append(asyncio.create_task(ask(body)))
        await asyncio.sleep(draw.expovariate(rate))
    return list(await asyncio.gather(*asked))


async def _sample(client: httpx.AsyncClient, body: Mapping[str, Any]) -> Sample:
    sample = Sample(time.perf_counter())
    try:
        async with client.stream("POST", "completions", json=body) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                sample.error = f"status {response.status_code}: {text:.200}"
                return sample
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    _take(sample, json.loads(line[6:]))
    except httpx.HTTPError as error:
        sample.error = f"{type(error).__name__}: {error}"
    if not sample.error and not sample.pieces:
        sample.error = "the answer had no text"
    return sample


def _take(sample: Sample, event: Mapping[str, Any]) -> None:
    if "error" in event:
        sample.error = str(event["error"])
    if any(choice.get("text") for choice in event.get("choices", ())):
        sample.pieces.append(time.perf_counter())
    if event.get("usage"):
        sample.prompt_tokens = event["usage"]["prompt_tokens"]
        sample.output_tokens = event["usage"]["completion_tokens"]


def summary(samples: Sequence[Sample], concurrency: int) -> dict[str, Any]:
    """Latencies in seconds at some percentiles, throughput, and the first error of those that failed."""
    good = [sample for sample in samples if not sample.error]
    errors = [sample.error for sample in samples if sample.error]
    found: dict[str, Any] = {"concurrency": concurrency, "requests": len(samples), "failed": len(errors)}
    found["error"] = errors[0] if errors else ""
    if not good:
        raise InputError(f"All {len(samples)} requests failed, the first with: {errors[0]}")
    seconds = max(sample.pieces[-1] for sample in good) - min(sample.sent for sample in good)
    gaps = [after - before for s in good for before, after in zip(s.pieces, s.pieces[1:], strict=False)]
    tpot = [(s.pieces[-1] - s.pieces[0]) / (s.output_tokens - 1) for s in good if s.output_tokens > 1]
    found |= {
        "seconds": seconds,
        "ttft": percentiles([sample.pieces[0] - sample.sent for sample in good]),
        "itl": percentiles(gaps),
        "tpot": percentiles(tpot),
        "e2e": percentiles([sample.pieces[-1] - sample.sent for sample in good]),
        "requests_per_second": len(good) / seconds,
        "prompt_tokens_per_second": sum(sample.prompt_tokens for sample in good) / seconds,
        "output_tokens_per_second": sum(sample.output_tokens for sample in good) / seconds,
        "mean_prompt_tokens": sum(sample.prompt_tokens for sample in good) / len(good),
        "mean_output_tokens": sum(sample.output_tokens for sample in good) / len(good),
    }
    return found


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """By linear interpolation between the values, as numpy's default; None where there are none."""
    ordered = sorted(values)
    found: dict[str, float | None] = {}
    for percent in PERCENTILES:
        place = (len(ordered) - 1) * percent / 100
        low = int(place) if ordered else 0
        high = min(low + 1, len(ordered) - 1)
        found[f"p{percent}"] = ordered[low] + (ordered[high] - ordered[low]) * (place - low) if ordered else None
    return found


def api_url(url: str) -> str:
    """Where a server's API is, whether its URL was given with /v1 or without."""
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def authorization(api_key: str) -> dict[str, str]:
    """The header that has the key; none without one."""
    return {"authorization": f"Bearer {api_key}"} if api_key else {}


def find_model(url: str, asked: str, api_key: str = "") -> tuple[str, int | None]:
    """The model to ask, the first one where none is named, and its context's length where the server tells it."""
    try:
        answer = httpx.get(f"{url}/models", headers=authorization(api_key), timeout=30)
        answer.raise_for_status()
        models = {model["id"]: model for model in answer.json()["data"]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise MissingError(f"{url}/models does not answer as an OpenAI-compatible server does: {error}.") from error
    if not models or (asked and asked not in models):
        raise MissingError(f"{url} has no model {asked!r}; it has {', '.join(map(repr, models)) or 'none'}.")
    name = asked or next(iter(models))
    return name, models[name].get("max_model_len")
