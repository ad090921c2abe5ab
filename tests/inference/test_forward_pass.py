"""Engines in threads of their own: one forward pass at a time, and PyTorch is left as it was found."""

import threading
import time

import pytest
import torch
from tiny_engines import tiny_engine

from groundup.inference.engine import Engine
from groundup.inference.requests import Request, Sampling

REQUEST = Request((65, 66, 67), Sampling(12, 0))


def run_in_threads(work, engines):
    """Each engine in a thread; what they found, in their order."""
    found = [None] * len(engines)

    def run(place):
        found[place] = work(engines[place])

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def texts_and_scores(engine):
    return engine.generate([REQUEST]), engine.score([((65,), (66, 67))]), engine.prompt_logprobs((65, 66, 67), 2)


def test_never_two_forward_passes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = [tiny_engine(seed) for seed in range(3)]
    expected = [texts_and_scores(engine) for engine in engines]
    inside, most = 0, 0

    def counted(real):
        def call(*given):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)  # another thread comes now, if it may
            result = real(*given)
            inside -= 1
            return result

        return call

    for engine in engines:
        monkeypatch.setattr(engine.model, "forward", counted(engine.model.forward))
        monkeypatch.setattr(engine.model, "unembed", counted(engine.model.unembed))
    assert run_in_threads(texts_and_scores, engines) == expected
    assert most == 1


def test_what_is_compiled_stays_so() -> None:
    """Each pass makes PyTorch eager and then as it was before; mixed up, it would be eager for ever."""
    compiled = []
    run_in_threads(lambda engine: engine.generate([REQUEST] * 2), [tiny_engine(seed) for seed in range(4)])
    torch.compile(lambda x: x + 1, backend=lambda graph, _: compiled.append(graph) or graph.forward)(torch.zeros(2))
    assert len(compiled) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
def test_compiled_engines_in_threads_have_the_tokens_that_they_have_alone() -> None:
    def texts(engine: Engine):
        return [[completion.ids for completion in engine.generate([REQUEST] * count)] for count in (1, 2, 1)]

    expected = [texts(tiny_engine(seed)) for seed in range(2)]
    engines = [tiny_engine(seed) for seed in range(2)]
    assert all(engine.compile() for engine in engines)
    assert run_in_threads(texts, engines) == expected
    assert run_in_threads(texts, engines) == expected
