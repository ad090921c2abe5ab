"""The line in front of the engine: batches, turns, bounds, cancellation, faults."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_server import wait_until
from scripted_engine import ScriptedEngine

from groundup.inference.requests import Request, Sampling
from groundup.serving.worker import BusyError, GenerationWorker, Part, StoppingError

LONG = Sampling(max_tokens=100_000)


def part(text, **options):
    return Part(Request(tuple(text.encode())), **options)


def ask(*texts):
    return [part(text) for text in texts]


async def text_of(job):
    return "".join([delta.text async for _, delta in job])


async def texts_of(job):
    texts = [""] * len(job.parts)
    async for index, delta in job:
        texts[index] += delta.text
    return texts


async def until(condition):
    """Wait without holding the loop."""
    await asyncio.to_thread(wait_until, condition)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4), min_size=1, max_size=8))
def test_every_part_gets_its_own_text_whoever_runs_beside_it(jobs):
    engine = ScriptedEngine(max_running=3)
    worker = GenerationWorker(engine)

    async def main():
        submitted = [worker.submit(ask(*texts)) for texts in jobs]
        return await asyncio.gather(*map(texts_of, submitted))

    assert asyncio.run(main()) == [[text.upper() for text in texts] for texts in jobs]
    assert engine.most_running <= 3
    assert not engine.running
    worker.close()


def test_requests_run_side_by_side():
    engine = ScriptedEngine(script=lambda _: "x" * 20, gate=threading.Semaphore(0))
    worker = GenerationWorker(engine)

    async def main():
        first = worker.submit(ask("a"))
        await until(lambda: engine.running)
        others = [worker.submit(ask(text)) for text in "bcde"]
        engine.gate.release(1000)
        await asyncio.gather(*(text_of(job) for job in (first, *others)))

    asyncio.run(main())
    assert engine.most_running == 5
    worker.close()


def test_jobs_take_turns_so_that_a_large_one_holds_up_no_small_one():
    engine = ScriptedEngine(max_running=1, gate=threading.Semaphore(0))
    worker = GenerationWorker(engine)

    async def main():
        large = worker.submit(ask("a", "b", "c", "d", "e", "f"))
        await until(lambda: engine.seen)
        small = [worker.submit(ask(text)) for text in "xy"]
        engine.gate.release(1000)
        await asyncio.gather(*map(texts_of, (large, *small)))

    asyncio.run(main())
    assert [bytes(request.prompt).decode() for request in engine.seen] == list("abxycdef")
    worker.close()


def test_the_line_is_bounded_and_moves_on():
    engine = ScriptedEngine(gate=threading.Semaphore(0), max_running=1)
    worker = GenerationWorker(engine, max_waiting=2)

    async def main():
        running = worker.submit(ask("a"))
        await until(lambda: engine.seen)
        waiting = [worker.submit(ask(text)) for text in "bc"]
        assert worker.load == {"running": 1, "waiting": 2}
        with pytest.raises(BusyError, match="2 requests are already waiting"):
            worker.submit(ask("d"))
        engine.gate.release(100)
        assert [await text_of(job) for job in (running, *waiting)] == ["A", "B", "C"]
        assert await text_of(worker.submit(ask("e"))) == "E"
        await until(lambda: worker.load == {"running": 0, "waiting": 0})

    asyncio.run(main())
    worker.close()


def test_a_rush_within_what_can_run_is_not_refused():
    engine = ScriptedEngine(max_running=10)
    worker = GenerationWorker(engine, max_waiting=1)

    async def main():
        return await asyncio.gather(*[text_of(worker.submit(ask("a"))) for _ in range(11)])

    assert asyncio.run(main()) == ["A"] * 11
    worker.close()


def test_a_job_cancelled_while_it_waits_never_reaches_the_engine():
    engine = ScriptedEngine(gate=threading.Semaphore(0), max_running=1)
    worker = GenerationWorker(engine, max_waiting=1)

    async def main():
        running = worker.submit(ask("a"))
        await until(lambda: engine.seen)
        given_up = worker.submit(ask("b"))
        given_up.cancel()
        assert await text_of(given_up) == ""
        after = worker.submit(ask("c"))  # its place was free again at once
        engine.gate.release(100)
        assert [await text_of(running), await text_of(after)] == ["A", "C"]

    asyncio.run(main())
    assert [bytes(request.prompt) for request in engine.seen] == [b"a", b"c"]
    worker.close()


def test_a_running_job_stops_before_the_next_step_and_the_others_go_on():
    engine = ScriptedEngine(script=lambda prompt: prompt * 100, gate=threading.Semaphore(3))
    worker = GenerationWorker(engine)

    async def main():
        leaving, staying = worker.submit(ask("a")), worker.submit(ask("b"))
        await until(lambda: engine.produced >= 5)
        leaving.cancel()
        engine.gate.release(1000)
        await until(engine.closed.is_set)
        assert set(await text_of(leaving)) <= {"a"}
        assert await text_of(staying) == "b" * 100

    asyncio.run(main())
    assert engine.produced <= 105
    assert not engine.running
    worker.close()


def test_close_ends_running_and_waiting_jobs_and_the_thread():
    engine = ScriptedEngine(script=lambda _: "x" * 100_000, delay_seconds=0.001, max_running=1)
    worker = GenerationWorker(engine)

    async def main():
        jobs = [worker.submit([Part(Request((65,), LONG))]) for _ in range(3)]
        await until(lambda: engine.produced)
        await asyncio.to_thread(worker.close)
        assert [len(await text_of(job)) < 100_000 for job in jobs] == [True] * 3
        assert all(job.cancelled for job in jobs)
        with pytest.raises(StoppingError, match="stopping"):
            worker.submit(ask("a"))

    asyncio.run(main())
    assert not worker._thread.is_alive()
    assert not engine.running


def test_a_server_that_stops_lets_what_runs_finish_within_its_time():
    engine = ScriptedEngine(script=lambda prompt: prompt * 20, delay_seconds=0.005, max_running=2)
    worker = GenerationWorker(engine)

    async def main():
        running = [worker.submit(ask(text)) for text in "ab"]
        await until(lambda: len(engine.running) == 2)
        waiting = worker.submit(ask("c"))
        worker.stop(seconds=30)
        assert [await text_of(job) for job in (*running, waiting)] == ["a" * 20, "b" * 20, ""]
        assert [job.cancelled for job in (*running, waiting)] == [False, False, True]

    asyncio.run(main())
    assert worker.close()


def test_a_second_stop_brings_the_end_nearer():
    engine = ScriptedEngine(script=lambda prompt: prompt * 100_000, delay_seconds=0.005)
    worker = GenerationWorker(engine)

    async def main():
        job = worker.submit([Part(Request((65,), LONG))])
        await until(lambda: engine.produced)
        worker.stop(seconds=1000)
        worker.stop()
        assert len(await text_of(job)) < 100_000

    asyncio.run(main())
    assert worker.close()


def test_a_request_that_the_engine_refuses_fails_alone():
    def script(prompt):
        if prompt == "bad":
            raise ZeroDivisionError
        return prompt

    worker = GenerationWorker(ScriptedEngine(script=script))

    async def main():
        jobs = [worker.submit(ask(*texts)) for texts in (["one"], ["fine", "bad"], ["two"])]
        results = await asyncio.gather(*map(texts_of, jobs), return_exceptions=True)
        assert [results[0], results[2]] == [["one"], ["two"]]
        assert isinstance(results[1], ZeroDivisionError)

    asyncio.run(main())
    wait_until(lambda: not worker.generator.running)
    worker.close()


class FaultyEngine(ScriptedEngine):
    """Fails in a step, for all that run, where one of them is about to say "!"."""

    def step(self):
        if any(each.text[each.said : each.said + 1] == "!" for each in self.running.values()):
            raise ZeroDivisionError("of a step")
        return super().step()


def test_after_a_fault_of_a_step_only_the_one_at_fault_ends():
    words = {"a": "all is well", "b": "this one fails!", "c": "so is this", "d": "and the last"}
    engine = FaultyEngine(script=words.__getitem__)
    worker = GenerationWorker(engine)

    async def main():
        jobs = [worker.submit(ask(text)) for text in "abcd"]
        results = await asyncio.gather(*map(text_of, jobs), return_exceptions=True)
        assert [results[0], *results[2:]] == [words["a"], words["c"], words["d"]]
        assert isinstance(results[1], ZeroDivisionError)
        assert await text_of(worker.submit(ask("a"))) == words["a"]

    asyncio.run(main())
    assert not engine.running
    worker.close()


def test_what_would_go_on_differently_after_a_fault_is_an_error():
    drawn = iter(["abc!", "xyz", "abX", "xyz"])  # begun again, the first says something else
    engine = FaultyEngine(script=lambda _: next(drawn))
    worker = GenerationWorker(engine)

    async def main():
        results = await asyncio.gather(*(text_of(worker.submit(ask(text))) for text in "ab"), return_exceptions=True)
        assert isinstance(results[0], RuntimeError)
        assert results[1] == "xyz"

    asyncio.run(main())
    worker.close()


def test_prompts_are_scored_before_their_part_begins():
    engine = ScriptedEngine()
    worker = GenerationWorker(engine)

    async def main():
        scored = worker.submit([part("ab", prompt_alternatives=2), part("cde", prompt_alternatives=0, generates=False)])
        deltas = [found async for found in scored]
        assert [index for index, delta in deltas if delta.finish_reason] == [1, 0]
        assert {index: [each.id for each in found] for index, found in scored.prompt_logprobs.items()} == {
            0: [98],
            1: [100, 101],
        }
        assert [len(each.alternatives) for each in scored.prompt_logprobs[0]] == [2]

    asyncio.run(main())
    assert len(engine.seen) == 1
    worker.close()


def test_a_client_whose_loop_is_gone_does_not_stop_the_line():
    engine = ScriptedEngine(script=lambda _: "x" * 50, gate=threading.Semaphore(1))
    worker = GenerationWorker(engine)

    async def leave():
        worker.submit(ask("a"))
        await until(lambda: engine.seen)

    async def stay():
        return await text_of(worker.submit(ask("b")))

    asyncio.run(leave())
    engine.gate.release(1000)
    assert asyncio.run(stay()) == "x" * 50
    worker.close()
