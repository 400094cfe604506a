"""How the page reaches a browser: compressed, with what cannot change only once."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")
MODULES = b'<script type="module"'  # begins the first of Gradio's scripts
LEVEL = 6  # 1.2 MB become 142 kB in 25 ms; level 9 takes half as long again for 2 kB


class Delivery:
    """ASGI middleware for what Gradio leaves as it is.

    It compresses what has a name with an extension, but the page itself has none. Of each of its
    own hundred files, whose names hold a hash of what is in them, a browser asks at every visit
    whether it has changed. And what stands in `Blocks(head=...)` comes to the page only when those
    files have begun.

    Args:
        app: What it stands before.
        script: JavaScript that the page runs first.
    """

    def __init__(self, app: ASGIApp, script: str) -> None:
        self.app = app
        self.zipped = GZipMiddleware(_begun(app, script), compresslevel=LEVEL)

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


def _begun(app: ASGIApp, script: str) -> ASGIApp:
    first = f"<script>{script}</script>\n".encode()

    async def begun(scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None

        async def sent(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # its length is not yet known
                return
            if start is not None:
                before = message.get("body", b"")
                message["body"] = before.replace(MODULES, first + MODULES, 1)
                _lengthen(start, len(message["body"]) - len(before))
                await send(start)
                start = None
            await send(message)

        await app(scope, receive, sent)

    return begun


def _lengthen(start: Message, more: int) -> None:
    headers = MutableHeaders(raw=start["headers"])
    if "content-length" in headers:
        headers["content-length"] = str(int(headers["content-length"]) + more)
