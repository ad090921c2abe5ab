"""The line in front of the engine: order, bounds, cancellation."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_server import wait_until
from scripted_engine import ScriptedEngine

from groundup.inference.requests import Request, Sampling
from groundup.serving.worker import BusyError, GenerationWorker


def ask(text):
    return [Request(tuple(text.encode()))]


async def text_of(job):
    return "".join([delta.text async for _, delta in job])


async def until(condition):
    """Wait without holding the loop."""
    await asyncio.to_thread(wait_until, condition)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=8))
def test_jobs_run_one_at_a_time_in_order_of_arrival(texts):
    engine = ScriptedEngine()
    worker = GenerationWorker(engine)

    async def main():
        jobs = [worker.submit(ask(text)) for text in texts]
        return await asyncio.gather(*(text_of(job) for job in jobs))

    assert asyncio.run(main()) == [text.upper() for text in texts]
    assert [bytes(request.prompt).decode() for request in engine.seen] == texts
    assert engine.most_open_streams == 1
    worker.close()


def test_the_line_is_bounded_and_moves_on():
    engine = ScriptedEngine(gate=threading.Semaphore(0))
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


def test_a_job_cancelled_while_it_waits_never_reaches_the_engine():
    engine = ScriptedEngine(gate=threading.Semaphore(0))
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


def test_a_running_job_stops_within_one_token_and_closes_the_stream():
    engine = ScriptedEngine(script=lambda _: "x" * 100, gate=threading.Semaphore(3))
    worker = GenerationWorker(engine)

    async def main():
        job = worker.submit(ask("a"))
        await until(lambda: engine.produced == 3)
        job.cancel()
        engine.gate.release(1000)
        await until(engine.closed.is_set)
        assert set(await text_of(job)) == {"x"}

    asyncio.run(main())
    assert engine.produced <= 4
    assert engine.open_streams == 0
    worker.close()


def test_close_ends_running_and_waiting_jobs_and_the_thread():
    engine = ScriptedEngine(script=lambda _: "x" * 100_000, delay_seconds=0.001, context_length=1_000_000)
    worker = GenerationWorker(engine)
    requests = [Request((65,), Sampling(max_tokens=100_000))]

    async def main():
        jobs = [worker.submit(requests) for _ in range(3)]
        await until(lambda: engine.produced)
        await asyncio.to_thread(worker.close)
        assert [len(await text_of(job)) < 100_000 for job in jobs] == [True] * 3
        assert all(job.cancelled for job in jobs)
        with pytest.raises(BusyError, match="stopping"):
            worker.submit(requests)

    asyncio.run(main())
    assert not worker._thread.is_alive()


def test_an_error_of_the_engine_reaches_its_job_and_no_other():
    def script(prompt):
        if prompt == "bad":
            raise ZeroDivisionError
        return prompt

    worker = GenerationWorker(ScriptedEngine(script=script))

    async def main():
        jobs = [worker.submit(ask(text)) for text in ("one", "bad", "two")]
        results = await asyncio.gather(*(text_of(job) for job in jobs), return_exceptions=True)
        assert [results[0], results[2]] == ["one", "two"]
        assert isinstance(results[1], ZeroDivisionError)

    asyncio.run(main())
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
