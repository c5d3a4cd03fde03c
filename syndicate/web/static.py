"""Style sheet and icon."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from syndicate.errors import NotFound
from syndicate.publish.static import STATIC_NAMES, read_static
from syndicate.web.forms import installation

__all__ = ["ROUTES"]


def static_show(request: Request) -> Response:
    """One of the files that pages refer to."""
    name = request.path_params["name"]
    if name not in STATIC_NAMES:
        raise NotFound("file", name, list(STATIC_NAMES))
    inst = installation(request)
    return Response(
        read_static(inst.templates, name),
        media_type=STATIC_NAMES[name],
        headers={"Cache-Control": "max-age=3600"},
    )


ROUTES: list[BaseRoute] = [Route("/static/{name}", static_show)]
