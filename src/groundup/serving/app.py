"""The HTTP API: OpenAI-compatible chat and text completions, whole or as server-sent events.

A request is checked and joins the line before the first byte is answered, so every error has its proper status. A
client that goes away cancels its generation: the event stream when its connection closes, a whole answer by a task that
listens for the disconnect. Sources: the public OpenAI API reference; server-sent events, WHATWG HTML, section 9.2.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from groundup import __version__
from groundup.core.errors import GroundupError
from groundup.core.logging import get_logger
from groundup.inference import requests as inference
from groundup.serving.body_limit import BodyLimit
from groundup.serving.errors import ApiError, ErrorBody, bad_request, error_body
from groundup.serving.generator import TextGenerator
from groundup.serving.prompts import chat_requests, completion_requests
from groundup.serving.protocol import ChatBody, CompletionBody, Reply, Usage
from groundup.serving.worker import MAX_WAITING, BusyError, GenerationWorker, Job

logger = get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (400, 404, 413, 429, 500)}


def create_app(
    engine: TextGenerator,
    model_name: str,
    *,
    max_waiting: int = MAX_WAITING,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> FastAPI:
    """The API for one model. `app.state.worker` is the line in front of it, which the chat page joins too.

    `app.state.home`, when set to a path, is where `GET /` leads.
    """
    worker = GenerationWorker(engine, max_waiting)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)

    app = FastAPI(title="groundup", version=__version__, lifespan=lifespan, responses=ERRORS, docs_url=None)
    app.state.worker = worker
    app.state.home = None
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    _add_error_handlers(app)
    _add_information(app, worker, model_name)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatBody, request: Request) -> Any:  # noqa: ANN401 - JSON or a stream
        """Answer a conversation."""
        _require_model(body.model, model_name)
        return await _answer(request, body, worker, chat_requests(body, engine), Reply(model_name, chat=True))

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Any:  # noqa: ANN401
        """Continue a text, token ids, or each of several."""
        _require_model(body.model, model_name)
        return await _answer(request, body, worker, completion_requests(body, engine), Reply(model_name, chat=False))

    return app


def _add_information(app: FastAPI, worker: GenerationWorker, model_name: str) -> None:
    model = {"id": model_name, "object": "model", "created": Reply(model_name, chat=True).created}
    model |= {"owned_by": "groundup", "context_length": worker.generator.context_length}

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """The served model, as a list of one."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}")
    async def get_model(name: str) -> dict[str, Any]:
        """The served model by name."""
        _require_model(name, model_name)
        return model

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, and how long its line is."""
        return {"status": "ok", "model": model_name, **worker.load}

    @app.get("/", include_in_schema=False, response_model=None)
    async def root() -> RedirectResponse | dict[str, str]:
        if app.state.home:
            return RedirectResponse(app.state.home)
        return {"model": model_name, "api": "/v1/chat/completions", "description": "/openapi.json"}


def _require_model(asked: str | None, served: str) -> None:
    if asked is not None and asked != served:
        message = f"There is no model {asked!r} here; this server has {served!r}."
        raise ApiError(404, message, param="model", code="model_not_found")


async def _answer(
    request: Request,
    body: ChatBody | CompletionBody,
    worker: GenerationWorker,
    requests: Sequence[inference.Request],
    reply: Reply,
) -> JSONResponse | StreamingResponse:
    try:
        job = worker.submit(requests)
    except BusyError as error:
        raise ApiError(429, str(error), code="too_many_requests") from error
    if body.stream:
        return _EventStream(job, _events(job, reply, body.include_usage))
    gone = asyncio.create_task(_cancel_when_gone(request, job))
    try:
        texts, reasons, usage = await _collect(job)
    except GroundupError as error:
        raise bad_request(str(error)) from error
    finally:
        gone.cancel()
        job.cancel()
    if not all(reasons):
        raise ApiError(503, "The answer was cut off: the client left, or the server is stopping.")
    return JSONResponse(reply.whole(texts, reasons, usage))


async def _cancel_when_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


async def _collect(job: Job) -> tuple[list[str], list[str], Usage]:
    """Text and finish reason of each request; a reason is empty where the job was cancelled before its end."""
    texts = [""] * len(job.requests)
    reasons = [""] * len(job.requests)
    count = 0
    async for index, delta in job:
        texts[index] += delta.text
        reasons[index] = delta.finish_reason or ""
        count += len(delta.ids)
    return texts, reasons, Usage(_prompt_tokens(job), count)


async def _events(job: Job, reply: Reply, include_usage: bool) -> AsyncIterator[str]:
    """The server-sent events of a job: pieces, then the usage if asked for, then `[DONE]`."""
    extra: dict[str, Any] = {"usage": None} if include_usage else {}
    count = 0
    try:
        if reply.chat:
            yield _event(reply.chunk(0, "", role=True) | extra)
        async for index, delta in job:
            count += len(delta.ids)
            if delta.text:
                yield _event(reply.chunk(index, delta.text) | extra)
            if delta.finish_reason:
                yield _event(reply.chunk(index, "", finish_reason=delta.finish_reason) | extra)
    except Exception:
        logger.exception("generation failed")
        yield _event(error_body(500, "The model failed while it generated; the server's log says why."))
        return
    if job.cancelled:  # the server is stopping: no [DONE], so that the client knows that the answer is cut
        return
    if include_usage:
        yield _event(reply.usage_chunk(Usage(_prompt_tokens(job), count)))
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


def _prompt_tokens(job: Job) -> int:
    return sum(len(request.prompt) for request in job.requests)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        refused = _invalid(error)
        return JSONResponse(refused.body, refused.status)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        message = error.detail
        if error.status_code in (404, 405):
            message = f"There is no {request.method} {request.url.path} here; see /openapi.json."
        return JSONResponse(error_body(error.status_code, message), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def fault(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(error_body(500, "The server failed on this request; its log says why."), 500)


def _invalid(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a body, as a sentence that names the field."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return bad_request(f"The body is not valid JSON ({first.get('ctx', {}).get('error', first['msg'])}).")
    place = ".".join(str(part) for part in first["loc"][1:])
    if not place and first["type"] in ("missing", "model_attributes_type", "dict_type", "model_type"):
        return bad_request("The body must be a JSON object, sent with the header Content-Type: application/json.")
    message = first["msg"].removeprefix("Value error, ")
    return bad_request(f"{place}: {message}." if place else f"{message}.", param=place.split(".")[0] or None)
