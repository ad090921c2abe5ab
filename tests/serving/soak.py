"""Many requests at once, some of whose clients leave: statuses, memory, and how soon a slot is free again.

usage: soak.py RUN [REQUESTS [CONCURRENCY]]      on a trained model; the test takes one with random weights
"""

import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from live_server import MODEL, live

from groundup.inference.engine import Engine, load_engine
from groundup.inference.scheduler import Limits

LEAVING, WARM_UP = 0.2, 0.3  # shares of the requests
WORDS = ["Fellow", "citizens", "of", "the", "Senate", "and", "House", "of", "Representatives", "we", "must", "also"]


@dataclass
class Soak:
    """What happened."""

    statuses: set[int] = field(default_factory=set)
    left: int = 0
    most_seconds_to_free: float = 0.0
    resident_before: int = 0  # bytes, behind the warm-up
    resident_after: int = 0
    running_at_end: int = 0
    blocks_held_at_end: int = 0
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        return self.resident_after / self.resident_before - 1


def soak(engine: Engine, requests: int, concurrency: int, seed: int) -> Soak:
    """Ask so many times, `concurrency` at once, of a server in this process."""
    found = Soak()
    with live(engine, max_waiting=64) as url:
        start = time.monotonic()
        asyncio.run(_ask_all(url, engine, found, requests, concurrency, random.Random(seed)))
        found.seconds = time.monotonic() - start
        deadline = time.monotonic() + 2
        while engine.load.running and time.monotonic() < deadline:
            time.sleep(0.01)
        load = engine.load
        allocator = engine.scheduler.allocator
        found.running_at_end = load.running + load.waiting
        found.blocks_held_at_end = allocator.num_blocks - allocator.num_free
    return found


async def _ask_all(url: str, engine: Engine, found: Soak, requests: int, concurrency: int, draw: random.Random) -> None:
    bodies = [_body(draw) for _ in range(requests)]
    leaving = [draw.random() < LEAVING for _ in bodies]
    following = iter(range(requests))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as http:
            for number in following:
                if number == int(requests * WARM_UP):
                    found.resident_before = resident_bytes()
                await _ask(http, *bodies[number], leaving[number], found)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    found.resident_after = resident_bytes()
    for _ in range(10):  # how soon the slot of one who leaves is free, with nobody else there
        await _leave_alone(url, engine, found)


def _body(draw: random.Random) -> tuple[str, dict]:
    text = " ".join(draw.choices(WORDS, k=draw.randint(1, 8)))
    body: dict = {"max_tokens": draw.randint(1, 40), "stream": draw.random() < 0.5, "seed": draw.randint(0, 9)}
    kind = draw.choice(["chat", "completion", "n", "score", "form"])
    if kind == "chat":
        return "/v1/chat/completions", body | {"messages": [{"role": "user", "content": text}]}
    body |= {"prompt": text}
    if kind == "n":
        body |= {"n": 3, "prompt": [text, text[:5]]}
    elif kind == "score":
        body |= {"echo": True, "logprobs": 2, "max_tokens": 0}
    elif kind == "form":
        body |= {"guided_regex": "[a-z]{1,20}"}
    return "/v1/completions", body


async def _ask(http: httpx.AsyncClient, path: str, body: dict, leaves: bool, found: Soak) -> None:
    if not leaves:
        answer = await http.post(path, json=body)
        found.statuses.add(answer.status_code)
        return
    found.left += 1
    try:
        async with asyncio.timeout(0.03):
            async with http.stream("POST", path, json=body | {"max_tokens": 60}) as response:
                found.statuses.add(response.status_code)
                async for _ in response.aiter_lines():
                    pass
    except TimeoutError:
        pass


async def _leave_alone(url: str, engine: Engine, found: Soak) -> None:
    while engine.load.running:
        await asyncio.sleep(0.002)
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        body = {"prompt": "x", "max_tokens": 10_000, "stream": True, "ignore_eos": True}
        async with http.stream("POST", "/v1/completions", json=body) as response:
            found.statuses.add(response.status_code)
            await anext(response.aiter_lines())
    left = time.monotonic()
    while engine.load.running:
        await asyncio.sleep(0.002)
    found.most_seconds_to_free = max(found.most_seconds_to_free, time.monotonic() - left)


def resident_bytes() -> int:
    """Of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[2:]]
    engine = load_engine(Path(sys.argv[1]), limits=Limits(tokens_per_step=512))
    sys.stdout.write(f"{MODEL}: {soak(engine, *asked, *(1000, 8)[len(asked) :], seed=0)}\n")
