"""Who may ask: API keys, as ASGI middleware. A request without one of them gets no further than this.

    Authorization: Bearer KEY

Keys are compared by their hashes in constant time, so that neither their bytes nor their lengths can be found out by
timing. `/health` is open, so that what watches the server needs no key.
"""

import hashlib
import hmac
from collections.abc import Sequence

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from groundup.serving.errors import error_body

OPEN_PATHS = ("/health",)
MISSING = "This server asks for an API key: send it in the header Authorization: Bearer KEY."
WRONG = "The API key is not one of this server's."


class ApiKeys:
    """Wraps an app; without keys everybody may ask."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self.app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._digests or scope["type"] not in ("http", "websocket") or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        kind, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        given = key.strip() if kind.lower() == b"bearer" else b""
        matches = [hmac.compare_digest(_digest(given), digest) for digest in self._digests]  # all, whichever it is
        if given and any(matches):
            await self.app(scope, receive, send)
            return
        body = error_body(401, WRONG if given else MISSING, code="invalid_api_key")
        await JSONResponse(body, 401, headers={"www-authenticate": "Bearer"})(scope, receive, send)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
