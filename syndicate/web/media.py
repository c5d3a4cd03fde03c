"""Images of articles."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from syndicate.service.media import media_file
from syndicate.web.forms import installation

__all__ = ["ROUTES"]


def media_show(request: Request) -> Response:
    """One image, whose name says what it is: it may be kept for ever."""
    path, media_type = media_file(installation(request), request.path_params["name"])
    return FileResponse(
        path,
        media_type=media_type,
        headers={"Cache-Control": "public, max-age=31536000, immutable", "Access-Control-Allow-Origin": "*"},
    )


ROUTES: list[BaseRoute] = [Route("/media/{name}", media_show)]
