"""Feeds: stored bytes with their validators."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from syndicate.publish.document import is_not_modified, response_headers
from syndicate.publish.formats import FORMATS
from syndicate.service.feeds import get_feed
from syndicate.web.forms import installation

__all__ = ["ROUTES"]


def feed_show(format_name: str, request: Request) -> Response:
    """The feed of a newsletter, or of one of its topics; 304 to who has it already."""
    document = get_feed(
        installation(request),
        request.path_params["slug"],
        format_name,
        request.path_params.get("topic", ""),
    )
    headers = response_headers(document)
    if is_not_modified(
        document,
        if_none_match=request.headers.get("if-none-match"),
        if_modified_since=request.headers.get("if-modified-since"),
    ):
        return Response(status_code=304, headers=headers)
    return Response(document.body, headers=headers | {"Content-Type": document.media_type})


ROUTES: list[BaseRoute] = [
    Route(path + made.path_suffix, partial(feed_show, name))
    for name, made in FORMATS.items()
    for path in ("/{slug}/", "/{slug}/topics/{topic}/")
]
