"""The HTTP API: OpenAI-compatible chat and text completions, whole or as server-sent events, of one model or several.

A request is checked and joins its model's line before the first byte is answered, so every error has its proper status.
Sources: the public OpenAI API reference; vLLM's OpenAI-compatible server for `/tokenize`, `/detokenize`,
`/tokenizer_info`, `/health` and `/metrics`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from groundup import __version__
from groundup.serving.access import ApiKeys
from groundup.serving.answers import answer
from groundup.serving.body_limit import BodyLimit
from groundup.serving.errors import ApiError, ErrorBody, bad_request, error_body
from groundup.serving.generator import TextGenerator
from groundup.serving.metrics import CONTENT_TYPE, Measurements, SharedMetrics
from groundup.serving.prompts import chat_question, completion_question
from groundup.serving.protocol import ChatBody, CompletionBody, DetokenizeBody, TokenizeBody
from groundup.serving.replies import Reply
from groundup.serving.tokens import detokenized, tokenized, tokenizer_info
from groundup.serving.worker import MAX_WAITING, GenerationWorker

MAX_BODY_BYTES = 1_000_000
STATUSES = (400, 401, 404, 413, 429, 500, 503)
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in STATUSES}


@dataclass(frozen=True)
class AppOptions:
    """What is accepted, and from whom: without keys from everybody, and from no page of another origin."""

    max_waiting: int = MAX_WAITING
    max_body_bytes: int = MAX_BODY_BYTES
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


def create_app(models: Mapping[str, TextGenerator], options: AppOptions | None = None) -> FastAPI:
    """The API for models by name; the first answers who names none.

    `app.state.workers` are the lines in front of them, which the chat page joins too; `app.state.home`, when set to a
    path, is where `GET /` leads.
    """
    options = options or AppOptions()
    metrics = SharedMetrics()
    workers = {
        name: GenerationWorker(generator, options.max_waiting, Measurements(name, metrics))
        for name, generator in models.items()
    }
    metrics.watch(workers)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.gather(*(asyncio.to_thread(worker.close) for worker in workers.values()))

    app = FastAPI(title="groundup", version=__version__, lifespan=lifespan, responses=ERRORS, docs_url=None)
    app.state.workers = workers
    app.state.home = None
    app.add_middleware(BodyLimit, max_bytes=options.max_body_bytes)
    app.add_middleware(ApiKeys, keys=options.api_keys)
    if options.cors_origins:  # outermost: a browser asks whether it may ask without a key
        origins = list(options.cors_origins)
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    _add_error_handlers(app)
    _add_information(app, workers, metrics)
    _add_tokens(app, workers)
    _add_completions(app, workers)
    return app


def _add_completions(app: FastAPI, workers: Mapping[str, GenerationWorker]) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatBody, request: Request) -> Any:  # noqa: ANN401 - JSON or a stream
        """Answer a conversation."""
        name, worker = _chosen(workers, body.model)
        question = await asyncio.to_thread(chat_question, body, worker.generator)  # reading a long text takes a while
        reply = Reply(name, chat=True)
        return await answer(request, question, worker, reply, stream=bool(body.stream), usage=body.include_usage)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Any:  # noqa: ANN401
        """Continue a text, token ids, or each of several."""
        name, worker = _chosen(workers, body.model)
        question = await asyncio.to_thread(completion_question, body, worker.generator)
        reply = Reply(name, chat=False)
        return await answer(request, question, worker, reply, stream=bool(body.stream), usage=body.include_usage)


def _add_tokens(app: FastAPI, workers: Mapping[str, GenerationWorker]) -> None:
    @app.post("/tokenize")
    async def tokenize(body: TokenizeBody) -> dict[str, Any]:
        """The token ids of a text or a conversation."""
        return await asyncio.to_thread(tokenized, body, _chosen(workers, body.model)[1].generator)

    @app.post("/detokenize")
    async def detokenize(body: DetokenizeBody) -> dict[str, Any]:
        """The text of token ids."""
        return await asyncio.to_thread(detokenized, body, _chosen(workers, body.model)[1].generator)

    @app.get("/tokenizer_info")
    async def information() -> dict[str, Any]:
        """What the first model's tokenizer calls its special tokens."""
        return tokenizer_info(_chosen(workers, None)[1].generator)


def _add_information(app: FastAPI, workers: Mapping[str, GenerationWorker], metrics: SharedMetrics) -> None:
    models: dict[str, dict[str, Any]] = {}
    for name, worker in workers.items():
        length = worker.generator.context_length
        models[name] = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "groundup"}
        models[name] |= {"max_model_len": length, "context_length": length}

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        """The served models."""
        return {"object": "list", "data": list(models.values())}

    @app.get("/v1/models/{name:path}")
    async def get_model(name: str) -> dict[str, Any]:
        """A served model by name."""
        return models[_chosen(workers, name)[0]]

    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether the server takes requests, and how many run and wait."""
        stopping = any(worker.stopping for worker in workers.values())
        loads = {name: worker.load for name, worker in workers.items()}
        totals = {key: sum(load[key] for load in loads.values()) for key in ("running", "waiting")}
        body = {"status": "stopping" if stopping else "ok", **totals, "models": loads}
        return JSONResponse(body, 503 if stopping else 200)

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Counts and latencies in Prometheus' text format."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    @app.get("/", include_in_schema=False, response_model=None)
    async def root() -> RedirectResponse | dict[str, Any]:
        if app.state.home:
            return RedirectResponse(app.state.home)
        return {"models": list(workers), "api": "/v1/chat/completions", "description": "/openapi.json"}


def _chosen(workers: Mapping[str, GenerationWorker], asked: str | None) -> tuple[str, GenerationWorker]:
    name = next(iter(workers)) if asked is None else asked
    if name not in workers:
        served = ", ".join(repr(each) for each in workers)
        message = f"There is no model {name!r:.100} here; this server has {served}."
        raise ApiError(404, message, param="model", code="model_not_found")
    return name, workers[name]


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, error.status, headers=error.headers)

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
