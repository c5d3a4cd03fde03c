"""How much a request may bring: a form here a few kilobytes, a hub whole documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["BodyLimit"]

#: Bytes; our choice.
_MOST: Final = 64 * 1024


class BodyLimit:
    """Answers 413 to a body that is larger, whatever its Content-Length claims; ``larger`` are the limits, in
    bytes, of what is below a path.
    """

    def __init__(self, app: ASGIApp, larger: Mapping[str, int]) -> None:
        self._app, self._larger = app, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        received = 0
        path = scope.get("path", "")
        most = next((most for start, most in self._larger.items() if path.startswith(start)), _MOST)

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413)
            return message

        await self._app(scope, receive_limited, send)
