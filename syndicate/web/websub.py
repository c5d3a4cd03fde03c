"""The callbacks of hubs: they ask here whether we mean it, and push here what sources publish."""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from syndicate.service.hub_pushes import Receipt, is_callback, receive, store_push, verify
from syndicate.web.forms import NOT_KEPT, installation

__all__ = ["PUSH_BYTES", "ROUTES"]

#: Largest document that a hub may push; our choice, that of [fetch] max_bytes.
PUSH_BYTES: Final = 10 * 2**20
_READ_S: Final = 60.0
_AGAIN_S: Final = 60

#: Documents that are being read at once; our choice. Hubs come again (W3C WebSub, section 7).
_PLACES: Final = threading.BoundedSemaphore(8)

_STATUS: Final = {Receipt.UNKNOWN: 404, Receipt.OVER: 410}


def intent_verify(request: Request) -> Response:
    """Echoes a hub's challenge if we want what it is about."""
    answer = verify(
        installation(request),
        request.path_params["source_id"],
        request.path_params["token"],
        request.query_params,
    )
    if answer is None:
        raise HTTPException(404)
    # Text, and never looked into for anything else: section 5.3.1 warns of reflected scripts.
    return PlainTextResponse(answer, headers=NOT_KEPT)


async def push_receive(request: Request) -> Response:
    """Takes a pushed document. It is stored after the answer, which says no more than that it has come."""
    inst = installation(request)
    source_id, token = request.path_params["source_id"], request.path_params["token"]
    if not is_callback(inst, source_id, token):
        raise HTTPException(404)
    if not _PLACES.acquire(blocking=False):
        raise HTTPException(503, headers={"Retry-After": str(_AGAIN_S)})
    try:
        body = await _read_body(request)
        signature = request.headers.get("x-hub-signature", "")
        receipt = await run_in_threadpool(receive, inst, source_id, token, signature=signature, body=body)
    finally:
        _PLACES.release()
    if receipt in _STATUS:
        raise HTTPException(_STATUS[receipt])
    later = None
    if receipt is Receipt.CONTENT:
        later = BackgroundTask(store_push, inst, source_id, body, request.headers.get("content-type", ""))
    return Response(status_code=202, headers=NOT_KEPT, background=later)


async def _read_body(request: Request) -> bytes:
    # A length that is given may be false: it only saves us from beginning. BodyLimit counts what comes.
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > PUSH_BYTES:
        raise HTTPException(413)
    try:
        async with asyncio.timeout(_READ_S):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None


ROUTES: list[BaseRoute] = [
    Route("/websub/{source_id:int}/{token}", intent_verify, methods=["GET"]),
    Route("/websub/{source_id:int}/{token}", push_receive, methods=["POST"]),
]
