"""How much a request may bring. No form here needs more than a few kilobytes."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit"]

#: Bytes; our choice.
_MOST: Final = 64 * 1024


class BodyLimit:
    """Answers 413 to a body that is larger, whatever its Content-Length claims."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > _MOST:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_limited, send)
