"""From a job to the answer of its client: whole, or as server-sent events.

A client that goes away cancels its job: the event stream when its connection closes, a whole answer by a task that
listens for the disconnect. Source of the stream's form: server-sent events, WHATWG HTML, section 9.2.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from groundup.core.errors import GroundupError
from groundup.core.logging import get_logger
from groundup.serving.errors import ApiError, bad_request, error_body
from groundup.serving.logprobs import Logprobs
from groundup.serving.prompts import Question
from groundup.serving.replies import Choice, Reply, Usage
from groundup.serving.worker import BusyError, GenerationWorker, Job, StoppingError

logger = get_logger(__name__)

RETRY_AFTER = {"retry-after": "1"}  # seconds


async def answer(
    request: Request, question: Question, worker: GenerationWorker, reply: Reply, *, stream: bool, usage: bool
) -> JSONResponse | StreamingResponse:
    """Join the line, and answer when the model has; with `stream` piece by piece, and with `usage` its counts last."""
    try:
        job = worker.submit(question.parts)
    except StoppingError as error:
        raise ApiError(503, str(error), headers=RETRY_AFTER) from error
    except BusyError as error:
        raise ApiError(429, str(error), code="too_many_requests", headers=RETRY_AFTER) from error
    growing = Growing(job, question, worker, reply.chat)
    if stream:
        return _EventStream(job, _events(growing, reply, usage))
    gone = asyncio.create_task(_cancel_when_gone(request, job))
    try:
        async for _ in growing:
            pass
    except GroundupError as error:
        raise bad_request(str(error)) from error
    finally:
        gone.cancel()
        job.cancel()
    if job.cancelled:
        raise ApiError(503, "The answer was cut off: the client left, or the server is stopping.", headers=RETRY_AFTER)
    return JSONResponse(reply.whole(growing.choices, growing.usage))


class Growing:
    """The choices of a job while they grow. Iterate it, once: each time the index of a choice and its new text."""

    def __init__(self, job: Job, question: Question, worker: GenerationWorker, chat: bool) -> None:
        self.job, self.question = job, question
        self.choices = [Choice() for _ in job.parts]
        self.usage = Usage(question.prompt_tokens, 0)
        if question.alternatives is not None:
            for choice in self.choices:
                choice.logprobs = Logprobs(worker.generator.tokenizer, chat)

    async def __aiter__(self) -> AsyncIterator[tuple[int, str]]:
        begun: set[int] = set()
        async for index, delta in self.job:
            text = delta.text
            if index not in begun:
                begun.add(index)
                text = self._begin(index) + text
            choice = self.choices[index]
            if choice.logprobs is not None:
                for each in delta.logprobs:
                    choice.logprobs.token(each)
            choice.text += text
            choice.finish_reason = delta.finish_reason
            self.usage = Usage(self.usage.prompt_tokens, self.usage.completion_tokens + len(delta.ids))
            yield index, text

    def _begin(self, index: int) -> str:
        """The echo of the prompt, which comes with the first piece."""
        if not self.question.echoes:
            return ""
        text, logprobs = self.question.echoes[index], self.choices[index].logprobs
        if logprobs is not None:
            logprobs.prompt(self.job.parts[index].request.prompt, self.job.prompt_logprobs[index], text)
        return text


async def _events(growing: Growing, reply: Reply, include_usage: bool) -> AsyncIterator[str]:
    """The server-sent events of a job: pieces, then the usage if asked for, then `[DONE]`."""
    extra: dict[str, Any] = {"usage": None} if include_usage else {}
    try:
        for index in range(len(growing.choices)) if reply.chat else ():
            yield _event(reply.first_chunk(index) | extra)
        async for index, text in growing:
            choice = growing.choices[index]
            logprobs = None if choice.logprobs is None else choice.logprobs.body()
            if text or logprobs:
                yield _event(reply.chunk(index, text, logprobs=logprobs) | extra)
            if choice.finish_reason:
                yield _event(reply.chunk(index, "", finish_reason=choice.finish_reason) | extra)
    except GroundupError as error:
        yield _event(error_body(400, str(error)))
        return
    except Exception:
        logger.exception("generation failed")
        yield _event(error_body(500, "The model failed while it generated; the server's log says why."))
        return
    if growing.job.cancelled:  # the server is stopping: no [DONE], so that the client knows that the answer is cut
        yield _event(error_body(503, "The answer was cut off: the server is stopping."))
        return
    if include_usage:
        yield _event(reply.usage_chunk(growing.usage))
    yield "data: [DONE]\n\n"


class _EventStream(StreamingResponse):
    """Server-sent events that cancel their job however the response ends, even before its first byte."""

    def __init__(self, job: Job, events: AsyncIterator[str]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.job.cancel()


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _cancel_when_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()
