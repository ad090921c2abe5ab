"""The engine against full forward passes, for every kind of memory; requests that come, go, share and wait."""

from functools import cache
from random import Random
from typing import Any, cast

import pytest
import torch
from decoder_kinds import CONTEXT, KINDS, Letters, greedy_by_full_forward, random_requests
from tiny_engines import tiny_engine

from groundup.core.errors import InputError
from groundup.inference.engine import Engine
from groundup.inference.paged_cache import Pages
from groundup.inference.requests import Completion, Request, Sampling
from groundup.inference.scheduler import Limits, Scheduler
from groundup.models.language_model import LanguageModel

SIZE = 4
BLOCKS_OF_CONTEXT = CONTEXT // SIZE
CROWDED: dict[str, Any] = {"max_running": 6, "tokens_per_step": 9, "block_size": SIZE}
kinds = pytest.mark.parametrize("kind", KINDS)
COUNTS = [40, pytest.param(200, marks=pytest.mark.slow)]


@cache
def model_of(kind: str) -> LanguageModel:
    return KINDS[kind]()


@cache
def expected_of(kind: str, count: int) -> list[list[int]]:
    return greedy_by_full_forward(model_of(kind), random_requests(count, 0))


def engine_of(kind: str, num_blocks: int | None = None, **limits: Any) -> Engine:
    """One with so few blocks that requests get into each other's way, where a number is given."""
    engine = Engine(model_of(kind), cast(Any, Letters()), Limits(**{**CROWDED, **limits}))
    if num_blocks is not None:
        assert num_blocks <= engine.cache.num_blocks
        engine.scheduler = Scheduler(engine.limits, num_blocks, engine.cache.by_position)
    return engine


def ids(completions: list[Completion]) -> list[list[int]]:
    return [list(completion.ids) for completion in completions]


@kinds
@pytest.mark.parametrize("count", COUNTS)
def test_greedy_is_a_full_forward_pass_per_token_in_crowds_with_preemption(kind: str, count: int) -> None:
    engine = engine_of(kind, BLOCKS_OF_CONTEXT + 3)
    assert ids(engine.generate(random_requests(count, 0))) == expected_of(kind, count)
    assert engine.scheduler.preemptions > 0
    assert engine.scheduler.allocator.num_free == BLOCKS_OF_CONTEXT + 3


@kinds
@pytest.mark.parametrize("count", COUNTS)
def test_greedy_is_a_full_forward_pass_per_token_alone(kind: str, count: int) -> None:
    engine = engine_of(kind)
    alone = [engine.generate([request])[0] for request in random_requests(count, 0)]
    assert ids(alone) == expected_of(kind, count)


@kinds
def test_one_request_after_the_other_and_none_in_a_batch_of_its_own(kind: str) -> None:
    """The oracle is a batch too: a few requests by themselves, without padding."""
    requests = random_requests(5, 0)
    assert [greedy_by_full_forward(model_of(kind), [request])[0] for request in requests] == expected_of(kind, 40)[:5]


@pytest.mark.parametrize("kind", ["attention", "hybrid", "patches of words"])
def test_requests_that_come_and_go_between_steps(kind: str) -> None:
    """Random arrivals, priorities and cancels; each that is left to end has the tokens that it has alone."""
    random, engine, requests = Random(1), engine_of(kind, BLOCKS_OF_CONTEXT + 3), random_requests(40, 0)
    numbers: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    waiting = list(range(len(requests)))
    while waiting or engine.has_work:
        for _ in range(random.randint(0, 2)):
            if waiting:
                at = waiting.pop(0)
                numbers[engine.add(requests[at], priority=random.choice((-1, 0, 0, 1)))] = at
        for number, delta in engine.step():
            assert number in numbers, "a request that was cancelled goes on"
            found.setdefault(numbers[number], []).extend(delta.ids)
            if delta.finish_reason:
                del numbers[number]
        if numbers and random.random() < 0.1:
            number = random.choice(list(numbers))
            engine.cancel(number)
            found.pop(numbers.pop(number), None)
    expected = expected_of(kind, 40)
    assert len(found) > 20
    assert all(found[at] == expected[at] for at in found)
    assert engine.scheduler.allocator.num_free == BLOCKS_OF_CONTEXT + 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["attention", "latents", "hybrid", "lstm", "patches of words"])
def test_batch_invariant_logits_are_the_same_to_the_last_bit(kind: str, dtype: torch.dtype) -> None:
    model = KINDS[kind]().to(dtype)
    requests = [
        Request(request.prompt, Sampling(8, 0.9, seed=seed)) for seed, request in enumerate(random_requests(12, 3))
    ]
    limits = Limits(**CROWDED, batch_invariant=True)
    crowd, alone = (Engine(model, cast(Any, Letters()), limits) for _ in range(2))
    crowd.scheduler = Scheduler(limits, BLOCKS_OF_CONTEXT + 3, crowd.cache.by_position)
    together = crowd.generate(requests)
    assert crowd.scheduler.preemptions > 0
    assert together == [alone.generate([request])[0] for request in requests]


def computed_tokens(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of tokens of each chunk that the engine computes."""
    counts: list[int] = []
    forward = Engine._forward
    monkeypatch.setattr(
        engine, "_forward", lambda chunks: counts.extend(c.count for c in chunks) or forward(engine, chunks)
    )
    return counts


def test_a_conversation_goes_on_without_being_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("n-grams", tokens_per_step=30)
    counts = computed_tokens(engine, monkeypatch)
    first = Request(tuple(range(9)), Sampling(4, 0.0))
    answer = [token for delta in engine.stream(first) for token in delta.ids]
    assert counts == [9, 1, 1, 1]
    second = Request((*first.prompt, *answer, 7, 8), Sampling(3, 0.0))
    again = [token for delta in engine.stream(second) for token in delta.ids]
    assert counts[4:] == [15 - 12, 1, 1]
    assert [again] == greedy_by_full_forward(engine.model, [second])


def test_the_same_prompt_again_computes_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("n-grams", tokens_per_step=30)
    counts = computed_tokens(engine, monkeypatch)
    request = Request(tuple(range(8)), Sampling(1, 0.0))
    texts = [[delta.ids for delta in engine.stream(request)] for _ in range(3)]
    assert counts == [8, 1, 1]
    assert texts[0] == texts[1] == texts[2]


def test_generate_computes_anew_what_a_model_in_training_may_have_changed() -> None:
    engine = tiny_engine(sharpness=8, limits=Limits(block_size=SIZE))
    request = Request(tuple(range(60, 90)), Sampling(9, 0))
    (before,) = engine.generate([request])
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    (after,) = engine.generate([request])
    assert after == Engine(engine.model, engine.tokenizer, engine.limits).generate([request])[0] != before


def test_a_beginning_is_shared_only_where_all_memory_is_by_position() -> None:
    shared = {kind for kind in KINDS if "random" not in kind and engine_of(kind).scheduler.share_prefixes}
    assert shared == {"attention", "alibi, sinks, soft cap", "learned positions", "latents", "n-grams"}


def test_a_cancelled_request_frees_its_memory_at_once() -> None:
    engine = engine_of("attention", BLOCKS_OF_CONTEXT + 3)
    numbers = [engine.add(Request((1, 2, 3, 4, 5), Sampling(10, 0.0))) for _ in range(2)]
    engine.step()
    free = engine.scheduler.allocator.num_free
    engine.cancel(numbers[0])
    assert engine.scheduler.allocator.num_free == free + 2
    assert {number for _ in range(30) for number, _ in engine.step()} == {numbers[1]}
    engine.cancel(numbers[0])
    engine.cancel(numbers[1])
    assert not engine.has_work
    assert engine.step() == []
    assert engine.scheduler.allocator.num_free == BLOCKS_OF_CONTEXT + 3


def test_streams_and_steps_side_by_side_lose_nothing() -> None:
    requests = random_requests(4, 0)
    engine = engine_of("attention")
    number = engine.add(requests[0])
    streams = [engine.stream(request) for request in requests[1:3]]
    found: list[list[int]] = [[], [], [], []]
    for _ in range(30):
        for at, stream in enumerate(streams, 1):
            delta = next(stream, None)
            found[at].extend(delta.ids if delta else ())
        if not found[3]:
            found[3].extend(engine.generate([requests[3]])[0].ids)
        for owner, delta in engine.step():
            assert owner == number
            found[0].extend(delta.ids)
    assert found == expected_of("attention", 40)[:4]
    assert not engine.has_work


def test_the_more_urgent_is_served_first() -> None:
    engine = engine_of("attention", max_running=1)
    late, soon, first = (engine.add(Request((1, 2), Sampling(2, 0.0)), priority) for priority in (1, 0, -1))
    order = []
    while engine.has_work:
        order += [number for number, delta in engine.step() if delta.finish_reason]
    assert order == [first, soon, late]


def test_a_text_that_no_cache_could_hold_is_refused() -> None:
    engine = engine_of("attention", 4)
    with pytest.raises(InputError, match="needs 6 blocks of the cache, which has 4; lower max_tokens"):
        engine.add(Request(tuple(range(15)), Sampling(5)))
    assert not engine.has_work


def test_blocks_are_gathered_when_the_batch_changes_and_not_for_every_token(monkeypatch) -> None:
    engine = engine_of("attention", max_running=3)
    gathers: list[int] = []
    read = Pages.read
    monkeypatch.setattr(Pages, "read", lambda *given: gathers.append(1) or read(*given))

    def gathered() -> int:
        gathers.clear()
        engine.step()
        return len(gathers)

    engine.add(Request((1, 2, 3), Sampling(20, 0.0)))
    tensors = 2 * len(engine.cache.whole.layers)
    assert [gathered() for _ in range(4)] == [tensors, tensors, 0, 0], "the prompt, and what decodes"
    engine.add(Request((5, 6), Sampling(4, 0.0)))
    assert [gathered() for _ in range(6)] == [tensors, tensors, 0, 0, tensors, 0], "the prompt, two that decode, one"
