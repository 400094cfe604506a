"""How the page reaches a browser: compressed, and what cannot change only once."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
LEVEL = 6  # 1.2 MB become 142 kB in 25 ms; level 9 takes half as long again for 2 kB


class Delivery:
    """ASGI middleware for what Gradio leaves as it is.

    It compresses what has a name with an extension, but the page itself has none. Of each of its
    own hundred files, whose names hold a hash of what is in them, a browser asks at every visit
    whether it has changed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.zipped = GZipMiddleware(app, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if path == "/":
            await self.zipped(scope, receive, send)
        elif path.startswith("/assets/"):
            await self.app(scope, receive, _kept(send))
        else:
            await self.app(scope, receive, send)


def _kept(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message.get("status") == 200:
            message["headers"] = [*message["headers"], FOREVER]
        await send(message)

    return sent
