"""Refuses requests of more bytes than any part of the page sends, before they fill the memory."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 2**20  # bytes; a painting of 2 million runs, see `ui.labels`, takes 14 MB
FRAME = 2**20  # bytes of an upload besides its file


class BodyLimit:
    """Middleware that limits the body of a request: Gradio reads all of it before anything else,
    even before it asks for the password of a public link.

    Args:
        app: The page.
        max_file: Bytes that an uploaded file may have. Nothing here uploads two at once.
    """

    def __init__(self, app: ASGIApp, max_file: int) -> None:
        self._app = app
        self._max_upload = max_file + FRAME

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request.

        Raises:
            HTTPException: While its body is read, if that is too large.
        """
        is_upload = scope["type"] == "http" and scope["path"].endswith("/upload")
        most, taken = self._max_upload if is_upload else MAX_BODY, 0

        async def receive_some() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(413, f"a request may have up to {most >> 20} MiB.")
            return message

        await self._app(scope, receive_some, send)
