"""Whether the service works: for monitors and load balancers."""

from __future__ import annotations

from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from syndicate.errors import OperationError
from syndicate.storage.engine import reading
from syndicate.web.forms import NOT_KEPT, installation

__all__ = ["ROUTES"]


def health_show(request: Request) -> Response:
    """200 if the database answers, 503 otherwise."""
    try:
        with reading(installation(request).engine) as conn:
            conn.execute(text("SELECT 1"))
    except OperationError:
        return JSONResponse({"status": "database unavailable"}, status_code=503, headers=NOT_KEPT)
    return JSONResponse({"status": "ok"}, headers=NOT_KEPT)


ROUTES: list[BaseRoute] = [Route("/healthz", health_show)]
